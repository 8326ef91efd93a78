//! The keys of the plugin configuration.

use gatemeter_core::plugin_config::{
    PluginConfig,
    reference::{KEYS, Key, configuration},
};

use super::{code, columns, compare, head, row};

/// What the parser says of the refused value.
fn message(key: &Key) -> String {
    let json = configuration(key.refused);
    PluginConfig::parse(json.as_bytes())
        .unwrap_err()
        .to_string()
}

fn default(key: &Key) -> String {
    let is_json = serde_json::from_str::<serde_json::Value>(key.default).is_ok();
    if is_json {
        code(key.default)
    } else {
        key.default.to_owned()
    }
}

fn page() -> String {
    let mut page = head("Plugin configuration");
    page +=
        "JSON text (a `StringValue`) or a `Struct` in Envoy's `configuration` of the plugin. Only
`service` is required. Whatever is wrong makes Envoy refuse the configuration, with one line
in its log that names each key, its value and what is accepted; `envoy --mode validate` shows
it too. Of a key that JSON text repeats, the last counts. The quoted lines below are the
parser's own.\n\n";
    page += &columns(&["key", "value", "default", "meaning"]);
    for key in KEYS {
        let link = format!("[`{}`](#{})", key.name, anchor(key));
        page += &row(&[&link, key.kind, &default(key), key.meaning]);
    }
    for key in KEYS {
        page += &format!("\n## {}\n\n{}\n\n", code(key.name), key.meaning);
        page += &format!("Value: {}. Default: {}.\n\n", key.kind, default(key));
        page += &format!("    {}\n\nRefused, with what is accepted:\n\n", key.example);
        page += &format!("    {}\n    {}\n", key.refused, message(key));
    }
    page
}

/// As mdBook and GitHub make it of a heading.
fn anchor(key: &Key) -> String {
    key.name
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn the_page_of_the_plugin_configuration_is_what_the_parser_says() {
    compare("plugin-configuration.md", &page());
}
