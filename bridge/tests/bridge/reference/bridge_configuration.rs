//! The bridge's configuration: flags, environment, both files.

use clap::CommandFactory as _;
use gatemeter_bridge::{
    cli::Cli,
    config::{
        Config, Settings,
        reference::{FILE, Key, WEB_FILE},
    },
};

use super::{code, columns, compare, head, row};

/// A flag of the command line.
struct Flag {
    name: String,
    variable: String,
    help: String,
}

fn flags() -> Vec<Flag> {
    let command = Cli::command();
    let arguments = command.get_arguments();
    arguments
        .filter_map(|argument| {
            let name = argument.get_long().filter(|name| name.contains('.'))?;
            Some(Flag {
                name: format!("--{name}"),
                variable: argument.get_env()?.to_str()?.to_owned(),
                help: argument.get_help()?.to_string(),
            })
        })
        .collect()
}

/// As names of flags and of keys have in common.
fn folded(name: &str) -> String {
    name.trim_start_matches('-').replace(['.', '-'], "_")
}

/// What the parser says of a value that the key refuses; none where a value
/// that nothing accepts is hard to think of.
fn message(key: &Key) -> Option<String> {
    let (group, name) = key.name.split_once('.')?;
    let yaml = match group.strip_suffix("[]") {
        _ if name.contains('*') => return None,
        None => format!("{group}: {{{name}: '?'}}\n"),
        Some(list) => format!("{list}: [{{{name}: '?'}}]\n"),
    };
    let errors = Config::try_from(Settings::from_yaml("bridge.yml", &yaml)).err()?;
    let place = key.name.replace("[]", "[0]");
    let messages = errors.to_string();
    let mut messages = messages.lines();
    let message = messages.find(|message| message.contains(&format!("{place}: \"?\"")))?;
    Some(message.to_owned())
}

fn file_table() -> String {
    let flags = flags();
    let mut table = columns(&["key", "values", "default", "meaning", "flag", "environment"]);
    for key in FILE {
        let flag = flags
            .iter()
            .find(|flag| folded(&flag.name) == folded(key.name));
        let (name, variable) = flag.map_or_else(Default::default, |flag| {
            (code(&flag.name), code(&flag.variable))
        });
        table += &row(&[
            &code(key.name),
            key.values,
            key.default,
            key.meaning,
            &name,
            &variable,
        ]);
    }
    table
}

fn page() -> String {
    let mut page = head("Configuration of the bridge");
    page += "A setting is taken from the first that names it: flag, environment variable, file,
default. How files are read, reload and what cannot change while the bridge runs are in
[The bridge](../bridge.md).

## Flags

Those that have a key of the file stand there too. `explain` and `budget` have flags of their
own: `gatemeter-bridge help explain`.\n\n";
    page += &columns(&["flag", "environment", "meaning"]);
    for flag in flags() {
        page += &row(&[&code(&flag.name), &code(&flag.variable), &flag.help]);
    }
    page += "\n## The file

Of `--config.file`, in YAML. A duration is a whole number with `ms`, `s`, `m` or `h`.\n\n";
    page += &file_table();
    page += "\nNames of labels are letters, digits and `_`, with no digit and no `__` first. Names that the
bridge gives labels itself are taken: `envoy`, `service`, `le`, `quantile` and the labels of its
[metrics](metrics.md#labels).

What is said of a value that is not accepted, here of `?`:\n\n";
    for key in FILE {
        if let Some(message) = message(key) {
            page += &format!("    {message}\n");
        }
    }
    page += "\n## The web file

Of `--web.config.file` or `web.config_file`: TLS, headers and basic authentication.\n\n";
    page += &columns(&["key", "values", "default", "meaning"]);
    for key in WEB_FILE {
        page += &row(&[&code(key.name), key.values, key.default, key.meaning]);
    }
    page
}

#[test]
fn the_page_of_the_bridges_configuration_is_what_it_reads() {
    let flags = flags();
    let of_keys = flags.iter().filter(|flag| {
        let mut keys = FILE.iter();
        keys.any(|key| folded(key.name) == folded(&flag.name))
    });
    // All but --config.file and --config.check.
    assert_eq!(of_keys.count() + 2, flags.len());
    assert!(FILE.iter().filter_map(message).count() > 10);
    compare("bridge-configuration.md", &page());
}
