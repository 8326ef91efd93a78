//! `tls_server_config`: certificates, and which clients may connect
//! (RFC 8446, RFC 5246).

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, SupportedKxGroup, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

use super::Stamps;
use crate::config::{
    Place, Problem, beside,
    reader::{Given, Group, Reader, Rule},
    rules::{PATH, SWITCH},
};

pub(super) const KEYS: &[&str] = &[
    "cert",
    "cert_file",
    "cipher_suites",
    "client_allowed_sans",
    "client_auth_type",
    "client_ca",
    "client_ca_file",
    "curve_preferences",
    "key",
    "key_file",
    "max_version",
    "min_version",
    "prefer_server_cipher_suites",
];

/// The server's side of TLS.
pub(super) struct ServerSide {
    pub(super) config: Arc<ServerConfig>,
    /// Whether every client has to show a certificate.
    pub(super) verifies_clients: bool,
}

/// What the group says; `None` inside where it is empty. Notes the files that
/// were read.
pub(super) fn server_config(
    reader: &mut Reader,
    group: &Group<'_>,
    files: &mut Stamps,
) -> Option<Option<ServerSide>> {
    if group.entries().next().is_none() {
        return Some(None);
    }
    let certificates = pem(reader, group, ("cert", "cert_file"), files);
    let certificates = required(reader, group, "cert_file", CERTIFICATES, certificates)
        .and_then(|pem| certificates_of(reader, &pem));
    let key = pem(reader, group, ("key", "key_file"), files);
    let key = required(reader, group, "key_file", KEY, key);
    let key_pem = key.as_ref();
    let private_key = key_pem.and_then(|pem| {
        let key = PrivateKeyDer::from_pem_slice(&pem.bytes);
        reported(reader, pem, "no private key", KEY, key)
    });
    let verifier = client_verifier(reader, group, files);
    let (least, most) = versions(reader, group);
    let provider = provider(reader, group);
    let prefers_own = reader
        .value(group, "prefer_server_cipher_suites", &SWITCH)
        .or(true);

    let builder = ServerConfig::builder_with_provider(provider?.into())
        .with_protocol_versions(&between(least?, most?))
        .ok()?;
    let verifier = verifier?;
    let verifies_clients = verifier
        .as_ref()
        .is_some_and(|verifier| verifier.client_auth_mandatory());
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = match builder.with_single_cert(certificates?, private_key?) {
        Ok(config) => config,
        Err(error) => {
            let cause = match error {
                Error::InconsistentKeys(_) => "not the key of the certificate".to_owned(),
                error => error.to_string(),
            };
            let pem = key?;
            let problem = Problem::File {
                cause,
                accepted: KEY,
            };
            reader.refuse(&pem.place, pem.key, problem);
            return None;
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = prefers_own?;
    Some(Some(ServerSide {
        config: Arc::new(config),
        verifies_clients,
    }))
}

const CERTIFICATES: &str = "certificates in PEM, the server's own first";
const CLIENT_CA: &str = "certificates in PEM of those who sign the clients'";
const KEY: &str = "the private key of the certificate in PEM, not encrypted";

/// A text in PEM and where it was named.
struct Pem {
    bytes: Vec<u8>,
    place: Place,
    key: String,
}

/// What stands inline or in a file; at most one of them may be given.
fn pem(
    reader: &mut Reader,
    group: &Group<'_>,
    (inline, in_file): (&'static str, &'static str),
    files: &mut Stamps,
) -> Option<Option<Pem>> {
    let text = reader.value(group, inline, &INLINE);
    let path = reader.value(group, in_file, &PATH);
    match (text, path) {
        (Given::Bad, _) | (_, Given::Bad) => None,
        (Given::Absent, Given::Absent) => Some(None),
        (Given::Good(text, place), Given::Absent) => Some(Some(Pem {
            bytes: text.into_bytes(),
            place,
            key: group.key(inline),
        })),
        (Given::Good(_, place), Given::Good(..)) => {
            let problem = Problem::Beside { other: in_file };
            reader.refuse(&place, group.key(inline), problem);
            None
        }
        (Given::Absent, Given::Good(path, place)) => {
            let path = beside(&place, path);
            files.add(&path);
            let read = fs::read(&path);
            let key = group.key(in_file);
            match read {
                Ok(bytes) => Some(Some(Pem { bytes, place, key })),
                Err(error) => {
                    let problem = Problem::File {
                        cause: format!("cannot be read: {error}"),
                        accepted: "a readable file",
                    };
                    reader.refuse(&place, key, problem);
                    None
                }
            }
        }
    }
}

fn required(
    reader: &mut Reader,
    group: &Group<'_>,
    name: &str,
    accepted: &'static str,
    pem: Option<Option<Pem>>,
) -> Option<Pem> {
    let pem = pem?;
    if pem.is_none() {
        let problem = Problem::Missing { accepted };
        reader.refuse(&group.place, group.key(name), problem);
    }
    pem
}

/// What was understood, or a note that says what was not.
fn reported<T, E>(
    reader: &mut Reader,
    pem: &Pem,
    cause: &str,
    accepted: &'static str,
    read: Result<T, E>,
) -> Option<T> {
    if read.is_err() {
        let cause = cause.to_owned();
        let problem = Problem::File { cause, accepted };
        reader.refuse(&pem.place, pem.key.clone(), problem);
    }
    read.ok()
}

fn certificates_of(reader: &mut Reader, pem: &Pem) -> Option<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.bytes).collect();
    let all = all.map_err(drop).and_then(|all| match all.is_empty() {
        true => Err(()),
        false => Ok(all),
    });
    reported(reader, pem, "no certificate", CERTIFICATES, all)
}

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientAuth {
    IfGiven,
    No,
    Required,
}

/// Types that take a certificate without verifying it are no authentication.
const CLIENT_AUTH: Rule<ClientAuth> = Rule::new(
    "NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert",
    |text| match text {
        "" | "NoClientCert" => Some(ClientAuth::No),
        "VerifyClientCertIfGiven" => Some(ClientAuth::IfGiven),
        "RequireAndVerifyClientCert" => Some(ClientAuth::Required),
        _ => None,
    },
);

fn client_verifier(
    reader: &mut Reader,
    group: &Group<'_>,
    files: &mut Stamps,
) -> Option<Option<Arc<dyn ClientCertVerifier>>> {
    let given = reader.value(group, "client_auth_type", &CLIENT_AUTH);
    let place = given.place().cloned();
    let auth = given.or(ClientAuth::No);
    let authorities = pem(reader, group, ("client_ca", "client_ca_file"), files);
    let names = texts(reader, group, "client_allowed_sans", &SAN);
    let (auth, authorities) = (auth?, authorities?);
    if let Some(Some((_, place))) = &names
        && auth != ClientAuth::Required
    {
        let other = "client_auth_type RequireAndVerifyClientCert";
        let key = group.key("client_allowed_sans");
        reader.refuse(place, key, Problem::Needs { other });
    }
    let authorities = match (auth, authorities) {
        (ClientAuth::No, None) => return Some(None),
        (ClientAuth::No, Some(pem)) => {
            let other = "a client_auth_type that verifies";
            reader.refuse(&pem.place, pem.key, Problem::Needs { other });
            return None;
        }
        (ClientAuth::IfGiven | ClientAuth::Required, None) => {
            let other = "client_ca_file";
            let place = place.unwrap_or_else(|| group.place.clone());
            let key = group.key("client_auth_type");
            reader.refuse(&place, key, Problem::Needs { other });
            return None;
        }
        (ClientAuth::IfGiven | ClientAuth::Required, Some(pem)) => pem,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of(reader, &authorities)? {
        let added = roots.add(certificate);
        reported(reader, &authorities, "a bad certificate", CLIENT_CA, added)?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(roots.into(), ring::default_provider().into());
    let builder = match auth {
        ClientAuth::IfGiven => builder.allow_unauthenticated(),
        ClientAuth::No | ClientAuth::Required => builder,
    };
    let chain = reported(
        reader,
        &authorities,
        "no authority",
        CLIENT_CA,
        builder.build(),
    )?;
    Some(Some(match names? {
        None => chain,
        Some((names, _)) => Arc::new(NamedClients { chain, names }),
    }))
}

/// Clients whose certificate is signed by an authority and has one of the
/// names (RFC 5280 §4.2.1.6).
#[derive(Debug)]
struct NamedClients {
    chain: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl ClientCertVerifier for NamedClients {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        let of_client = alternative_names(end_entity);
        if of_client.iter().any(|name| self.names.contains(name)) {
            return Ok(verified);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// DNS names, e-mail and IP addresses and URIs, as they are written.
fn alternative_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(certificate)
    else {
        return Vec::new();
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some((*name).to_owned())
            }
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(bytes).into())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Tls12,
    Tls13,
}

const VERSION: Rule<Version> = Rule::new("TLS12 or TLS13", |text| match text {
    "TLS12" => Some(Version::Tls12),
    "TLS13" => Some(Version::Tls13),
    _ => None,
});

fn versions(reader: &mut Reader, group: &Group<'_>) -> (Option<Version>, Option<Version>) {
    let least = reader
        .value(group, "min_version", &VERSION)
        .or(Version::Tls12);
    let given = reader.value(group, "max_version", &VERSION);
    let place = given.place().cloned();
    let most = given.or(Version::Tls13);
    if let (Some(place), Some(Version::Tls13), Some(Version::Tls12)) = (place, least, most) {
        let problem = Problem::Value {
            value: "TLS12".to_owned(),
            accepted: "TLS13, as min_version",
        };
        reader.refuse(&place, group.key("max_version"), problem);
        return (least, None);
    }
    (least, most)
}

fn between(least: Version, most: Version) -> Vec<&'static SupportedProtocolVersion> {
    let all = [
        (Version::Tls13, &version::TLS13),
        (Version::Tls12, &version::TLS12),
    ];
    let within = all
        .into_iter()
        .filter(|(version, _)| (least..=most).contains(version));
    within.map(|(_, version)| version).collect()
}

/// Ciphers and curves, less those that are not listed where a list is given.
fn provider(reader: &mut Reader, group: &Group<'_>) -> Option<CryptoProvider> {
    let suites = texts(reader, group, "cipher_suites", &CIPHER_SUITE);
    let curves = texts(reader, group, "curve_preferences", &CURVE);
    let mut provider = ring::default_provider();
    if let Some((suites, _)) = suites? {
        // The list is of TLS 1.2, as in other exporters.
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some());
        provider.cipher_suites.extend(suites);
    }
    if let Some((curves, _)) = curves? {
        provider.kx_groups = curves;
    }
    Some(provider)
}

const CIPHER_SUITE: Rule<SupportedCipherSuite> = Rule::new(
    "TLS_ECDHE_x_WITH_y, where x is ECDSA or RSA, and y is AES_128_GCM_SHA256, \
     AES_256_GCM_SHA384 or CHACHA20_POLY1305_SHA256",
    |text| {
        let mut suites = ring::ALL_CIPHER_SUITES
            .iter()
            .filter(|suite| suite.tls13().is_none());
        let suite = suites.find(|suite| suite.suite().as_str() == Some(text));
        suite.copied()
    },
);

const CURVE: Rule<&'static dyn SupportedKxGroup> =
    Rule::new("CurveP256, CurveP384 or X25519", |text| match text {
        "CurveP256" => Some(ring::kx_group::SECP256R1),
        "CurveP384" => Some(ring::kx_group::SECP384R1),
        "X25519" => Some(ring::kx_group::X25519),
        _ => None,
    });

const SAN: Rule<String> = Rule::new("a DNS name, an address or a URI", |text| {
    let is_name = !text.is_empty() && !text.contains(char::is_control);
    is_name.then(|| text.to_owned())
});

const INLINE: Rule<String> = Rule {
    accepted: "a text in PEM",
    parse: |text| text.contains("-----BEGIN ").then(|| text.to_owned()),
    is_secret: true,
};

/// A list of values with its place, if it is given; it may not be empty.
fn texts<T>(
    reader: &mut Reader,
    group: &Group<'_>,
    name: &str,
    rule: &Rule<T>,
) -> Option<Option<(Vec<T>, Place)>> {
    let (items, place) = match reader.list(group, name) {
        Given::Absent => return Some(None),
        Given::Bad => return None,
        Given::Good(items, place) => (items, place),
    };
    if items.is_empty() {
        reader.refuse(&place, group.key(name), Problem::Empty);
        return None;
    }
    let key = group.key(name);
    // All of them are looked at before one that is wrong counts.
    let values: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(index, item)| reader.node(&format!("{key}[{index}]"), item, rule))
        .collect();
    let values: Option<Vec<_>> = values
        .into_iter()
        .map(|value| value.optional().flatten())
        .collect();
    Some(Some((values?, place)))
}
