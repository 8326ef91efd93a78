use std::collections::BTreeSet;

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::config::tests::{files, general, kind};

/// A folder with files of these names and texts.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// A certificate and its key in PEM.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let parameters = CertificateParams::new(names).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn bad(name: &str) -> ConfigErrors {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-web-config");
    let mut errors = WebFile::read(&Path::new(folder).join(name)).unwrap_err();
    for error in &mut errors.0 {
        if let crate::config::Place::Position { file, .. } = &mut error.place {
            *file = name.into();
        }
    }
    errors
}

#[test]
fn each_bad_file_gets_exactly_its_message() {
    let messages = files("bad-web-config", "txt");
    let files = files("bad-web-config", "yml");
    assert!(files.keys().eq(messages.keys()), "{:?}", files.keys());
    for name in files.keys() {
        let errors = bad(&format!("{name}.yml"));
        assert_eq!(format!("{errors}\n"), messages[name], "{name}");
    }
}

#[test]
fn every_rule_has_its_bad_file_and_no_secret_is_repeated() {
    let mut kinds = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for name in files("bad-web-config", "yml").keys() {
        let errors = bad(&format!("{name}.yml"));
        for word in ["secret", "mDwo"] {
            assert!(!errors.to_string().contains(word), "{errors}");
        }
        for error in errors.0 {
            kinds.insert(kind(&error.problem));
            let is_about_a_value = matches!(
                error.problem,
                Problem::Value { .. }
                    | Problem::Secret { .. }
                    | Problem::File { .. }
                    | Problem::Unsupported { .. }
            );
            if is_about_a_value {
                let key = general(&error.key).replace("[]", "");
                refused.insert(match key.strip_prefix("basic_auth_users.") {
                    Some(_) => "basic_auth_users.*".to_owned(),
                    None => key,
                });
            }
        }
    }
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        [
            "beside",
            "empty",
            "file",
            "missing",
            "needs",
            "secret",
            "unknown key",
            "unsupported",
            "value",
            "wrong kind",
        ]
    );
    let mut keys: BTreeSet<_> = WebFile::keys().into_iter().collect();
    // Names of users are refused in the group that holds them.
    keys.insert("basic_auth_users".to_owned());
    assert_eq!(refused, keys);
}

#[test]
fn a_file_without_keys_is_no_tls_and_no_authentication() {
    let folder = folder(&[("web.yml", "tls_server_config:\nbasic_auth_users: {}\n")]);
    let file = WebFile::read(&folder.path().join("web.yml")).unwrap();
    assert!(file.tls.is_none() && file.users.is_empty() && file.headers.is_empty());
    assert!(!file.verifies_clients);
}

#[test]
fn takes_the_settings_of_other_exporters() {
    let (certificate, key) = pair();
    let folder = folder(&[
        ("server.crt", &certificate),
        ("server.key", &key),
        (
            "web.yml",
            "\
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: server.crt
  client_allowed_sans: [prometheus.example.com, 10.0.0.1]
  min_version: TLS12
  max_version: TLS12
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: true
  curve_preferences: [CurveP256, X25519]
http_server_config:
  http2: false
  headers:
    X-Frame-Options: sameorigin
    X-Content-Type-Options: nosniff
    X-XSS-Protection: ''
    Strict-Transport-Security: max-age=31536000
    Content-Security-Policy: default-src 'self'
basic_auth_users:
  alice: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze
",
        ),
    ]);
    let file = WebFile::read(&folder.path().join("web.yml")).unwrap();
    let tls = file.tls.as_ref().unwrap();
    assert!(tls.ignore_client_order);
    assert_eq!(tls.alpn_protocols, [b"http/1.1"]);
    assert!(file.verifies_clients);
    assert_eq!(file.users.len(), 1);
    assert_eq!(file.headers.len(), 4);
    assert_eq!(file.headers[header::X_FRAME_OPTIONS], "sameorigin");
    assert!(!format!("{file:?}").contains("mDwo"));
}

#[test]
fn certificates_may_stand_inline() {
    let (certificate, key) = pair();
    let indented = |pem: &str| pem.replace('\n', "\n    ");
    let text = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n",
        indented(&certificate),
        indented(&key)
    );
    let folder = folder(&[("web.yml", &text)]);
    let file = WebFile::read(&folder.path().join("web.yml")).unwrap();
    assert!(file.tls.is_some() && !file.verifies_clients);
}

#[test]
fn refuses_the_key_of_another_certificate() {
    let ((certificate, _), (_, key)) = (pair(), pair());
    let folder = folder(&[
        ("a.crt", &certificate),
        ("b.key", &key),
        (
            "web.yml",
            "tls_server_config: {cert_file: a.crt, key_file: b.key}\n",
        ),
    ]);
    let path = folder.path().join("web.yml");
    assert_eq!(
        WebFile::read(&path).unwrap_err().to_string(),
        format!(
            "{}:1:49: tls_server_config.key_file: not the key of the certificate; \
             expected the private key of the certificate in PEM, not encrypted",
            path.display()
        )
    );
}

#[test]
fn sees_when_a_file_that_it_names_has_changed() {
    let ((certificate, key), (other, _)) = (pair(), pair());
    let folder = folder(&[
        ("a.crt", &certificate),
        ("a.key", &key),
        (
            "web.yml",
            "tls_server_config: {cert_file: a.crt, key_file: a.key}\n",
        ),
    ]);
    let file = WebFile::read(&folder.path().join("web.yml")).unwrap();
    assert!(!file.has_changed());
    fs::write(folder.path().join("new"), other).unwrap();
    fs::rename(folder.path().join("new"), folder.path().join("a.crt")).unwrap();
    assert!(file.has_changed());
}
