use super::*;

fn config(yaml: &str) -> Result<Config, String> {
    Config::try_from(Settings::from_yaml(yaml)).map_err(|errors| errors.to_string())
}

#[test]
fn nothing_configured_gives_the_defaults() {
    for yaml in ["", "# nothing\n", "{}", "envoy:\nweb:\n"] {
        let config = config(yaml).unwrap();
        assert_eq!(config.admin.to_string(), "http://127.0.0.1:9901");
        assert_eq!(config.listen_address.to_string(), "127.0.0.1:9464");
        assert_eq!(config.read_timeout, Duration::from_secs(10));
        assert_eq!(config.drain_timeout, Duration::from_secs(5));
        assert_eq!(config.log_level, LevelFilter::INFO);
        assert_eq!(config.log_format, LogFormat::Text);
    }
}

#[test]
fn a_file_sets_every_key() {
    let config = config(
        "envoy:\n  admin: unix:/run/envoy/admin.sock\n  connect_timeout: 250ms\n  \
           max_answer_bytes: 1048576\n  timeout: 1m\n\
         web:\n  listen_address: '[::1]:0'\n  max_connections: 7\n  drain_timeout: 2s\n\
         log:\n  level: debug\n  format: json\n",
    )
    .unwrap();
    assert_eq!(
        config,
        Config {
            admin: AdminAddress::Unix("/run/envoy/admin.sock".into()),
            connect_timeout: Duration::from_millis(250),
            max_answer_bytes: 1 << 20,
            read_timeout: Duration::from_mins(1),
            listen_address: "[::1]:0".parse().unwrap(),
            max_connections: 7,
            drain_timeout: Duration::from_secs(2),
            log_level: LevelFilter::DEBUG,
            log_format: LogFormat::Json,
        }
    );
}

#[test]
fn the_stronger_setting_wins() {
    let mut stronger = Settings::default();
    stronger.set(Key::WebListenAddress, ":9000");
    let file = Settings::from_yaml(
        "web: {listen_address: 'localhost:1'}\nenvoy: {admin: 'http://envoy:9901'}\n",
    );
    let config = Config::try_from(file.overlaid_by(stronger)).unwrap();
    assert_eq!(config.listen_address.to_string(), "0.0.0.0:9000");
    assert_eq!(config.admin.to_string(), "http://envoy:9901");
}

#[test]
fn each_mistake_has_its_message() {
    let long = format!("log: {{level: {}}}", "x".repeat(500));
    for (yaml, message) in [
        (
            "envoy: {admin: 127.0.0.1}",
            "envoy.admin: \"127.0.0.1\"; expected http://HOST:PORT or unix:/PATH",
        ),
        (
            "envoy: {timeout: 10}",
            "envoy.timeout: \"10\"; expected a duration from 1ms to 1h such as 500ms, 10s or 1m",
        ),
        (
            "envoy: {timeout: 0s}",
            "envoy.timeout: \"0s\"; expected a duration from 1ms to 1h such as 500ms, 10s or 1m",
        ),
        (
            "envoy: {connect_timeout: 18446744073709551615h}",
            "envoy.connect_timeout: \"18446744073709551615h\"; expected a duration from 1ms to 1h such as 500ms, 10s or 1m",
        ),
        (
            "envoy: {max_answer_bytes: -1}",
            "envoy.max_answer_bytes: \"-1\"; expected a number of bytes from 1024 to 17179869184",
        ),
        (
            "web: {listen_address: 9464}",
            "web.listen_address: \"9464\"; expected ADDRESS:PORT such as 127.0.0.1:9464 or [::1]:9464, or :PORT for all interfaces",
        ),
        (
            "web: {listen_address: ':70000'}",
            "web.listen_address: \":70000\"; expected ADDRESS:PORT such as 127.0.0.1:9464 or [::1]:9464, or :PORT for all interfaces",
        ),
        (
            "web: {max_connections: 0}",
            "web.max_connections: \"0\"; expected a number from 1 to 65536",
        ),
        (
            "log: {level: loud}",
            "log.level: \"loud\"; expected error, warn, info, debug or trace",
        ),
        (
            "log: {format: xml}",
            "log.format: \"xml\"; expected text or json",
        ),
        (
            "log: {colour: red}",
            "log.colour: unknown key; expected one of log.format, log.level",
        ),
        (
            "envoy: {admin: 'http://a:1'}\nenvoy.admin: 'http://b:1'",
            "\"envoy.admin\": unknown key; expected names without dots, in their groups",
        ),
        (
            "envoy: {'': 1}",
            "\"\": unknown key; expected names without dots, in their groups",
        ),
        (
            "'': {envoy: {admin: 'http://a:1'}}",
            "\"\": unknown key; expected names without dots, in their groups",
        ),
        ("log: [level]", "log: a list; expected a group of keys"),
        ("log: debug", "log: one value; expected a group of keys"),
        (
            "web: {listen_address: ['127.0.0.1:1']}",
            "web.listen_address: a list; expected one value",
        ),
        (
            "web: {listen_address: }",
            "web.listen_address: nothing; expected one value",
        ),
        ("- a", "the file: a list; expected a group of keys"),
        ("hello", "the file: one value; expected a group of keys"),
        (
            "prometheus: {}",
            "prometheus: unknown key; expected one of envoy.admin, envoy.connect_timeout, \
             envoy.max_answer_bytes, envoy.timeout, log.format, log.level, web.drain_timeout, \
             web.listen_address, web.max_connections",
        ),
        (
            &long,
            &format!(
                "log.level: \"{}...\"; expected error, warn, info, debug or trace",
                "x".repeat(80)
            ),
        ),
    ] {
        assert_eq!(config(yaml), Err(message.to_owned()), "{yaml}");
    }
}

#[test]
fn refuses_a_key_that_stands_twice_and_what_is_no_yaml() {
    for yaml in [
        "log: {level: info}\nlog: {level: debug}\n",
        "log: {level: info, level: debug}\n",
        "log: {level",
        "\tlog:",
    ] {
        let error = config(yaml).unwrap_err();
        assert!(error.starts_with("not YAML: "), "{yaml}: {error}");
    }
}

#[test]
fn reports_all_mistakes_at_once() {
    let mut flags = Settings::default();
    flags.set(Key::LogLevel, "loud");
    let file = Settings::from_yaml("envoy: {admin: x, speed: 1}\nweb: {max_connections: many}\n");
    let errors = Config::try_from(file.overlaid_by(flags)).unwrap_err();
    let keys: Vec<_> = errors
        .to_string()
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
        .collect();
    assert_eq!(
        keys,
        [
            "envoy.speed",
            "envoy.admin",
            "web.max_connections",
            "log.level"
        ]
    );
}
