use std::fs;

use gatemeter_bridge::{
    config::{
        Config, Settings,
        reference::{FILE, Key, WEB_FILE},
    },
    web_file::WebFile,
};

/// A section of docs/bridge.md, without its heading.
fn section(heading: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bridge.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    section.split("\n## ").next().unwrap_or_default().to_owned()
}

fn names(keys: &[Key]) -> Vec<String> {
    let mut names: Vec<_> = keys.iter().map(|key| key.name.to_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_reference_names_exactly_the_keys_of_both_files() {
    assert_eq!(names(FILE), Config::keys());
    assert_eq!(names(WEB_FILE), WebFile::keys());
}

#[test]
fn the_defaults_are_those_that_apply() {
    let parsed = |yaml: &str| Config::try_from(Settings::from_yaml("a.yml", yaml)).unwrap();
    let mut checked = 0;
    for key in FILE {
        if key.name.contains("[]") || key.default == "none" {
            continue;
        }
        let (group, name) = key.name.split_once('.').unwrap();
        let value = key.default.trim_matches('`');
        let yaml = format!("{group}: {{{name}: '{value}'}}\n");
        assert_eq!(parsed(&yaml), parsed(""), "{}", key.name);
        checked += 1;
    }
    assert_eq!(checked, 13);
}

#[test]
fn the_example_is_a_configuration() {
    let section = section("The file");
    let example: String = section
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .map(|line| format!("{line}\n"))
        .collect();
    let config = Config::try_from(Settings::from_yaml("a.yml", &example)).unwrap();
    assert_eq!((config.envoys.len(), config.sources.len()), (2, 1));
}

#[test]
fn the_message_that_it_shows_is_the_one_that_is_said() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bridge.md");
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(str::trim);
    let shown = lines.find(|line| line.starts_with("bridge.yml:")).unwrap();
    let yaml = format!("{}envoy:\n  timeout: 10\n", "\n".repeat(5));
    let errors = Config::try_from(Settings::from_yaml("bridge.yml", &yaml)).unwrap_err();
    assert_eq!(errors.to_string(), shown);
}
