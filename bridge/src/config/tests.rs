use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::*;
use crate::admin::AdminAddress;

fn config(yaml: &str) -> Result<Config, String> {
    Config::try_from(Settings::from_yaml("a.yml", yaml)).map_err(|errors| errors.to_string())
}

fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn nothing_configured_gives_the_defaults() {
    for yaml in [
        "",
        "# nothing\n",
        "{}",
        "envoy:\nweb:\nlive: ~\n",
        "---\n",
        "\u{feff}",
    ] {
        assert_eq!(
            config(yaml).unwrap(),
            Config {
                envoys: vec![EnvoyTarget {
                    name: None,
                    labels: Vec::new(),
                    admin: "http://127.0.0.1:9901".parse().unwrap(),
                    on_demand: false,
                }],
                sources: Vec::new(),
                connect_timeout: Duration::from_secs(1),
                max_answer_bytes: 256 << 20,
                read_timeout: Duration::from_secs(10),
                expire_after: None,
                live: Some(LiveConfig {
                    interval: Duration::from_secs(5)
                }),
                listen_address: "127.0.0.1:9464".parse().unwrap(),
                max_connections: 512,
                drain_timeout: Duration::from_secs(5),
                web_config_file: None,
                lifecycle: false,
                log_level: LevelFilter::INFO,
                log_format: LogFormat::Text,
            }
        );
    }
}

#[test]
fn a_file_sets_every_key() {
    let text = "\
envoy: {connect_timeout: 250ms, max_answer_bytes: 1048576, timeout: 1m}
envoys:
  - {name: edge-1, admin: 'http://10.0.0.1:9901', labels: {zone: a, rack: 7}}
  - {name: edge-2, admin: 'unix:/run/envoy.sock', on_demand: true}
sources:
  - {service: api, url: 'http://127.0.0.1:8090/metrics', timeout: 500ms, labels: {pool: main}}
  - {service: cdn, url: 'unix:/run/cdn.sock:/metrics'}
series: {expire_after: 24h}
live: {enabled: true, interval: 1m}
web:
  config_file: web.yml
  drain_timeout: 2s
  enable_lifecycle: true
  listen_address: '[::1]:0'
  max_connections: 7
log: {level: debug, format: json}
";
    let settings = Settings::from_yaml("etc/gatemeter/bridge.yml", text);
    assert_eq!(
        Config::try_from(settings).unwrap(),
        Config {
            envoys: vec![
                EnvoyTarget {
                    name: Some("edge-1".into()),
                    labels: labels(&[("zone", "a"), ("rack", "7")]),
                    admin: "http://10.0.0.1:9901".parse().unwrap(),
                    on_demand: false,
                },
                EnvoyTarget {
                    name: Some("edge-2".into()),
                    labels: Vec::new(),
                    admin: AdminAddress::Unix("/run/envoy.sock".into()),
                    on_demand: true,
                },
            ],
            sources: vec![
                SourceTarget {
                    service: "api".to_owned(),
                    url: "http://127.0.0.1:8090/metrics".parse().unwrap(),
                    timeout: Duration::from_millis(500),
                    labels: labels(&[("pool", "main")]),
                },
                SourceTarget {
                    service: "cdn".to_owned(),
                    url: "unix:/run/cdn.sock:/metrics".parse().unwrap(),
                    timeout: Duration::from_secs(2),
                    labels: Vec::new(),
                },
            ],
            connect_timeout: Duration::from_millis(250),
            max_answer_bytes: 1 << 20,
            read_timeout: Duration::from_mins(1),
            expire_after: Some(Duration::from_hours(24)),
            live: Some(LiveConfig {
                interval: Duration::from_mins(1)
            }),
            listen_address: "[::1]:0".parse().unwrap(),
            max_connections: 7,
            drain_timeout: Duration::from_secs(2),
            web_config_file: Some("etc/gatemeter/web.yml".into()),
            lifecycle: true,
            log_level: LevelFilter::DEBUG,
            log_format: LogFormat::Json,
        }
    );
}

#[test]
fn what_can_be_turned_off_is_off() {
    let config = config("live: {enabled: false}\nseries: {expire_after: 0s}\n").unwrap();
    assert_eq!((config.live, config.expire_after), (None, None));
}

#[test]
fn the_stronger_setting_wins_and_the_weaker_is_still_checked() {
    let mut stronger = Settings::default();
    stronger.set(Key::WebListenAddress, ":9000");
    stronger.set(Key::WebConfigFile, "web.yml");
    let file = |address: &str| {
        Settings::from_yaml(
            "etc/a.yml",
            &format!("web: {{listen_address: '{address}', config_file: b.yml}}\n"),
        )
    };
    let config = Config::try_from(file("localhost:1").overlaid_by(stronger.clone())).unwrap();
    assert_eq!(config.listen_address.to_string(), "0.0.0.0:9000");
    assert_eq!(config.web_config_file, Some("web.yml".into()));
    let errors = Config::try_from(file("nowhere").overlaid_by(stronger)).unwrap_err();
    assert_eq!(errors.0.len(), 1, "{errors}");
    assert_eq!(errors.0[0].key, "web.listen_address");
}

#[test]
fn an_absolute_path_stays_as_it_is() {
    let config = config("web: {config_file: /etc/web.yml}\n").unwrap();
    assert_eq!(config.web_config_file, Some("/etc/web.yml".into()));
}

#[test]
fn a_flag_for_one_envoy_does_not_go_with_a_list() {
    let mut flags = Settings::default();
    flags.set_from("--envoy.admin".into(), Key::EnvoyAdmin, "http://a:1");
    let file = Settings::from_yaml("a.yml", "envoys: [{name: a, admin: 'http://a:2'}]");
    assert_eq!(
        Config::try_from(file.overlaid_by(flags))
            .unwrap_err()
            .to_string(),
        "--envoy.admin: envoy.admin: given beside envoys; expected one of the two"
    );
}

#[test]
fn reports_all_mistakes_at_once_files_first() {
    let mut flags = Settings::default();
    flags.set_from("GATEMETER_LOG_LEVEL".into(), Key::LogLevel, "loud");
    let file = Settings::from_yaml(
        "a.yml",
        "web: {max_connections: many}\nenvoy: {admin: x, speed: 1, admin: y}\n",
    );
    let errors = Config::try_from(file.overlaid_by(flags)).unwrap_err();
    let places: Vec<_> = errors
        .0
        .iter()
        .map(|error| (error.place.to_string(), error.key.as_str()))
        .collect();
    let expected = [
        ("a.yml:1:24", "web.max_connections"),
        ("a.yml:2:16", "envoy.admin"),
        ("a.yml:2:19", "envoy.speed"),
        ("a.yml:2:29", "envoy.admin"),
        ("GATEMETER_LOG_LEVEL", "log.level"),
    ];
    let expected: Vec<_> = expected.map(|(place, key)| (place.to_owned(), key)).into();
    assert_eq!(places, expected);
}

#[test]
fn a_file_that_cannot_be_used_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, cause) in [
        ("latin1.yml", b"# caf\xe9\n".to_vec(), "not UTF-8"),
        ("large.yml", vec![b'#'; (1 << 20) + 1], "too large"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_eq!(
            Config::try_from(Settings::from_file(&path))
                .unwrap_err()
                .to_string(),
            format!(
                "{}: {cause}; expected a readable YAML file of at most 1 MiB",
                path.display()
            )
        );
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 2000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_text_is_a_configuration_or_has_errors_with_a_place(
        text in r##"(([a-z]{1,3}|envoy|admin|envoys|labels|web|[0-9]|[-:{}\[\]&*!|>'"#%@`,?\\ \n\t.~<=]|: |- |---|\n  |\PC)){0,40}"##,
    ) {
        if let Err(errors) = Config::try_from(Settings::from_yaml("a.yml", &text)) {
            for error in errors.0 {
                proptest::prop_assert!(error.place.to_string().starts_with("a.yml"), "{error}");
                let is_line = !error.to_string().contains(char::is_control);
                proptest::prop_assert!(is_line, "{error}");
            }
        }
    }
}

/// The files of a folder that end so, with their texts, by name.
pub(crate) fn files(folder: &str, ending: &str) -> BTreeMap<String, String> {
    let folder = format!("{}/tests/{folder}", env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let paths = entries.map(|entry| entry.unwrap().path());
    let of_kind = paths.filter(|path| path.extension().is_some_and(|kind| kind == ending));
    of_kind
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The kind of a problem, for "each kind has its file".
pub(crate) fn kind(problem: &Problem) -> &'static str {
    match problem {
        Problem::Beside { .. } => "beside",
        Problem::Construct { found, .. } => found,
        Problem::Empty => "empty",
        Problem::File { .. } => "file",
        Problem::Fixed => "fixed",
        Problem::Missing { .. } => "missing",
        Problem::Needs { .. } => "needs",
        Problem::NotUnique { .. } => "not unique",
        Problem::Reserved { .. } => "reserved",
        Problem::Secret { .. } => "secret",
        Problem::Syntax(_) => "syntax",
        Problem::Twice { .. } => "twice",
        Problem::UnknownKey { .. } => "unknown key",
        Problem::Unsupported { .. } => "unsupported",
        Problem::Value { .. } => "value",
        Problem::WrongKind { .. } => "wrong kind",
    }
}

/// A key without the numbers of its items and the names of its labels.
pub(crate) fn general(key: &str) -> String {
    let mut general = String::new();
    let mut is_index = false;
    for c in key.chars() {
        is_index = (is_index || c == '[') && c != ']';
        if !is_index || c == '[' {
            general.push(c);
        }
    }
    match general.split_once(".labels.") {
        Some((item, _)) => format!("{item}.labels.*"),
        None => general,
    }
}

#[test]
fn each_bad_file_gets_exactly_its_message() {
    let messages = files("bad-config", "txt");
    let files = files("bad-config", "yml");
    assert!(files.keys().eq(messages.keys()), "{:?}", files.keys());
    for (name, yaml) in files {
        let settings = Settings::from_yaml(&format!("{name}.yml"), &yaml);
        let errors = Config::try_from(settings).unwrap_err();
        assert_eq!(format!("{errors}\n"), messages[&name], "{name}");
    }
}

#[test]
fn every_rule_has_its_bad_file() {
    let mut kinds = BTreeSet::new();
    let mut refused = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for (name, yaml) in files("bad-config", "yml") {
        let settings = Settings::from_yaml(&name, &yaml);
        for error in Config::try_from(settings).unwrap_err().0 {
            kinds.insert(kind(&error.problem));
            match error.problem {
                Problem::Value { .. } => refused.insert(general(&error.key)),
                Problem::Missing { .. } => missing.insert(general(&error.key)),
                _ => true,
            };
        }
    }
    // The rest belongs to the web file, or has a test of its own above.
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        [
            "a key that is no name",
            "a second document",
            "a tag",
            "an alias",
            "beside",
            "empty",
            "missing",
            "nested too deep",
            "not unique",
            "reserved",
            "syntax",
            "twice",
            "unknown key",
            "value",
            "wrong kind",
        ]
    );
    // The names of labels are refused in the group that holds them.
    let mut keys: BTreeSet<_> = Config::keys().into_iter().collect();
    keys.extend(["envoys[].labels".to_owned(), "sources[].labels".to_owned()]);
    assert_eq!(refused, keys);
    let required = [
        "envoys[].admin",
        "envoys[].name",
        "sources[].service",
        "sources[].url",
    ];
    assert!(missing.iter().eq(required), "{missing:?}");
}
