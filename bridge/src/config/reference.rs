//! What people need to know of each key: the source of
//! `docs/reference/bridge-configuration.md`. Tests hold names and defaults to
//! what [`Config`](super::Config) and [`WebFile`](crate::web_file::WebFile) read.

/// One key of a file; `[]` stands for each item of a list, `*` for any name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The groups that hold it, and its name there.
    pub name: &'static str,
    /// What it accepts, in Markdown.
    pub values: &'static str,
    /// What holds without it, in Markdown.
    pub default: &'static str,
    /// What it does, in Markdown.
    pub meaning: &'static str,
}

/// The bridge's own file.
pub const FILE: &[Key] = &[
    Key {
        name: "envoy.admin",
        values: "`http://HOST:PORT` or `unix:/PATH`",
        default: "`http://127.0.0.1:9901`",
        meaning: "Envoy's admin interface, where there is one Envoy; not beside `envoys`",
    },
    Key {
        name: "envoy.connect_timeout",
        values: "`1ms` to `1h`",
        default: "`1s`",
        meaning: "most time for connecting to an Envoy or a source",
    },
    Key {
        name: "envoy.max_answer_bytes",
        values: "1024 to 17179869184",
        default: "268435456",
        meaning: "most bytes of one answer of Envoy",
    },
    Key {
        name: "envoy.timeout",
        values: "`1ms` to `1h`",
        default: "`10s`",
        meaning: "most time for a read, where the scraper does not say how long it waits",
    },
    Key {
        name: "envoys[].name",
        values: "1 to 64 letters, digits, `_`, `-`, `.`",
        default: "required",
        meaning: "value of the label `envoy`, and of `?target=`; no other Envoy has it",
    },
    Key {
        name: "envoys[].admin",
        values: "as `envoy.admin`",
        default: "required",
        meaning: "its admin interface",
    },
    Key {
        name: "envoys[].labels.*",
        values: "1 to 128 characters",
        default: "none",
        meaning: "more labels of all its series",
    },
    Key {
        name: "envoys[].on_demand",
        values: "`true`, `false`",
        default: "`false`",
        meaning: "read only where `?target=` names it",
    },
    Key {
        name: "sources[].service",
        values: "1 to 64 letters, digits, `_`, `-`",
        default: "required",
        meaning: "the service whose own page this is; sources of one service differ in their labels",
    },
    Key {
        name: "sources[].url",
        values: "`http://HOST:PORT/PATH` or `unix:/SOCKET:/PATH`",
        default: "required",
        meaning: "the page",
    },
    Key {
        name: "sources[].timeout",
        values: "`1ms` to `1h`",
        default: "`2s`",
        meaning: "most time for a read",
    },
    Key {
        name: "sources[].labels.*",
        values: "1 to 128 characters",
        default: "none",
        meaning: "more labels of all its series",
    },
    Key {
        name: "series.expire_after",
        values: "`0s`, or `1s` to `720h`",
        default: "`0s`",
        meaning: "after so long without a move a series is left out; `0s`: never",
    },
    Key {
        name: "live.enabled",
        values: "`true`, `false`",
        default: "`true`",
        meaning: "whether there is a live page at `/`",
    },
    Key {
        name: "live.interval",
        values: "`1s` to `1m`",
        default: "`5s`",
        meaning: "time between two of its moments",
    },
    Key {
        name: "web.config_file",
        values: "a path, relative to this file",
        default: "none",
        meaning: "the [web file](#the-web-file)",
    },
    Key {
        name: "web.drain_timeout",
        values: "`1ms` to `1h`",
        default: "`5s`",
        meaning: "time for requests in hand when the bridge ends",
    },
    Key {
        name: "web.enable_lifecycle",
        values: "`true`, `false`",
        default: "`false`",
        meaning: "whether `POST /-/reload` is answered",
    },
    Key {
        name: "web.listen_address",
        values: "`ADDRESS:PORT`, or `:PORT` for all interfaces",
        default: "`127.0.0.1:9464`",
        meaning: "address to serve on",
    },
    Key {
        name: "web.max_connections",
        values: "1 to 65536",
        default: "512",
        meaning: "connections at once; one more closes the one that has waited longest",
    },
    Key {
        name: "log.format",
        values: "`text`, `json`",
        default: "`text`",
        meaning: "form of the log on standard error",
    },
    Key {
        name: "log.level",
        values: "`error`, `warn`, `info`, `debug`, `trace`",
        default: "`info`",
        meaning: "least severe messages to log",
    },
];

/// The file for TLS, headers and basic authentication.
pub const WEB_FILE: &[Key] = &[
    Key {
        name: "tls_server_config.cert_file",
        values: "a path",
        default: "required with any key of the group",
        meaning: "certificates in PEM, the server's own first",
    },
    Key {
        name: "tls_server_config.cert",
        values: "PEM",
        default: "none",
        meaning: "the same inline",
    },
    Key {
        name: "tls_server_config.key_file",
        values: "a path",
        default: "required with any key of the group",
        meaning: "the private key in PEM",
    },
    Key {
        name: "tls_server_config.key",
        values: "PEM",
        default: "none",
        meaning: "the same inline",
    },
    Key {
        name: "tls_server_config.client_auth_type",
        values: "`NoClientCert`, `VerifyClientCertIfGiven`, `RequireAndVerifyClientCert`",
        default: "`NoClientCert`",
        meaning: "whether clients show a certificate",
    },
    Key {
        name: "tls_server_config.client_ca_file",
        values: "a path",
        default: "required where clients are verified",
        meaning: "certificates in PEM of those who sign the clients'",
    },
    Key {
        name: "tls_server_config.client_ca",
        values: "PEM",
        default: "none",
        meaning: "the same inline",
    },
    Key {
        name: "tls_server_config.client_allowed_sans",
        values: "a list of DNS names, addresses, URIs",
        default: "any",
        meaning: "a client's certificate has one of these names exactly; needs `RequireAndVerifyClientCert`",
    },
    Key {
        name: "tls_server_config.min_version",
        values: "`TLS12`, `TLS13`",
        default: "`TLS12`",
        meaning: "oldest version of TLS that is spoken",
    },
    Key {
        name: "tls_server_config.max_version",
        values: "`TLS12`, `TLS13`",
        default: "`TLS13`",
        meaning: "newest version of TLS that is spoken",
    },
    Key {
        name: "tls_server_config.cipher_suites",
        values: "a list of `TLS_ECDHE_x_WITH_y`",
        default: "all with forward secrecy and AEAD",
        meaning: "suites of TLS 1.2; those of TLS 1.3 are always on",
    },
    Key {
        name: "tls_server_config.prefer_server_cipher_suites",
        values: "`true`, `false`",
        default: "`true`",
        meaning: "whether the order of the suites is the server's",
    },
    Key {
        name: "tls_server_config.curve_preferences",
        values: "a list of `CurveP256`, `CurveP384`, `X25519`",
        default: "all three",
        meaning: "groups of the key exchange, the preferred one first",
    },
    Key {
        name: "http_server_config.http2",
        values: "`false`",
        default: "`false`",
        meaning: "HTTP/2 is not spoken: scrapes gain nothing by it",
    },
    Key {
        name: "http_server_config.headers.Content-Security-Policy",
        values: "text",
        default: "none",
        meaning: "one more policy, beside the page's own",
    },
    Key {
        name: "http_server_config.headers.Strict-Transport-Security",
        values: "text",
        default: "none",
        meaning: "that header of every answer",
    },
    Key {
        name: "http_server_config.headers.X-Content-Type-Options",
        values: "`nosniff`",
        default: "`nosniff`",
        meaning: "that header of every answer",
    },
    Key {
        name: "http_server_config.headers.X-Frame-Options",
        values: "`deny`, `sameorigin`",
        default: "`deny`",
        meaning: "that header of every answer",
    },
    Key {
        name: "http_server_config.headers.X-XSS-Protection",
        values: "text",
        default: "none",
        meaning: "that header of every answer",
    },
    Key {
        name: "basic_auth_users.*",
        values: "a bcrypt hash of cost 4 to 15",
        default: "none",
        meaning: "a user and its password, as of `htpasswd -nBC 10 USER`",
    },
    Key {
        name: "rate_limit",
        values: "|",
        default: "not supported",
        meaning: "refused: scrapes at once cost one read of Envoy",
    },
];
