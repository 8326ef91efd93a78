//! The command line. Flags are grouped by dots as Prometheus operators know
//! them; each can also be given as an environment variable.
//!
//! Values are taken as text: what they mean, and all that is wrong with them at
//! once, is said by [`config`](crate::config).

use std::path::PathBuf;

use clap::{
    ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, parser::ValueSource,
};

use crate::config::{Key, Settings};

/// Reads the stats of the Gatemeter filter from Envoy's admin interface and
/// serves them to Prometheus.
///
/// A setting is taken from the first that names it: flag, environment
/// variable, configuration file, default. Exit codes: 0 ended as asked, 64
/// wrong usage or configuration, 1 any other failure.
#[derive(Debug, Parser)]
#[command(name = "gatemeter-bridge", version)]
pub struct Cli {
    /// Envoy's admin interface: http://HOST:PORT or unix:/PATH [default: http://127.0.0.1:9901]
    #[arg(
        long = "envoy.admin",
        env = "GATEMETER_ENVOY_ADMIN",
        value_name = "URL"
    )]
    envoy_admin: Option<String>,

    /// Address to serve on: ADDRESS:PORT, or :PORT for all interfaces [default: 127.0.0.1:9464]
    #[arg(
        long = "web.listen-address",
        env = "GATEMETER_WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS"
    )]
    web_listen_address: Option<String>,

    /// File for TLS and basic authentication, as exporters of Prometheus have it
    #[arg(
        long = "web.config.file",
        env = "GATEMETER_WEB_CONFIG_FILE",
        value_name = "FILE"
    )]
    web_config_file: Option<String>,

    /// Reload the configuration on POST /-/reload [default: false]
    #[arg(
        long = "web.enable-lifecycle",
        env = "GATEMETER_WEB_ENABLE_LIFECYCLE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    web_enable_lifecycle: Option<String>,

    /// Configuration file in YAML
    #[arg(
        long = "config.file",
        env = "GATEMETER_CONFIG_FILE",
        value_name = "FILE"
    )]
    pub config_file: Option<PathBuf>,

    /// Check the configuration, print `ok` or every error, and exit
    #[arg(
        long = "config.check",
        env = "GATEMETER_CONFIG_CHECK",
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub config_check: bool,

    /// Least severe messages to log: error, warn, info, debug or trace [default: info]
    #[arg(long = "log.level", env = "GATEMETER_LOG_LEVEL", value_name = "LEVEL")]
    log_level: Option<String>,

    /// Format of the log on standard error: text or json [default: text]
    #[arg(
        long = "log.format",
        env = "GATEMETER_LOG_FORMAT",
        value_name = "FORMAT"
    )]
    log_format: Option<String>,

    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the bridge does instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say which labels a request gets, why, and which metrics it moves
    Explain {
        /// Method of the request: GET
        method: String,
        /// Its path as the client sends it: /api/content/42
        path: String,
        /// Status of the response
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(100..600))]
        status: u16,
        /// A header of the request: "x-plan: gold"; may be repeated
        #[arg(long, value_name = "HEADER", value_parser = header)]
        request_header: Vec<Header>,
        /// A header of the response: "cache-status: redis; hit"; may be repeated
        #[arg(long, value_name = "HEADER", value_parser = header)]
        response_header: Vec<Header>,
        /// The filter's configuration in JSON
        #[arg(long, value_name = "FILE")]
        plugin_config: PathBuf,
    },
    /// Say how many series a configuration of the filter can make at most
    Budget {
        /// The filter's configuration in JSON
        #[arg(long, value_name = "FILE")]
        plugin_config: PathBuf,
        /// Exit with 1 if there can be more series than this
        #[arg(long, value_name = "SERIES")]
        max: Option<u64>,
    },
}

/// Name in lower case, and value.
pub type Header = (String, String);

fn header(text: &str) -> Result<Header, String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() && !name.contains(' ') => {
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        }
        _ => Err("expected a header such as \"cache-status: redis; hit\"".to_owned()),
    }
}

impl Cli {
    /// Reads the arguments of this process and its environment.
    ///
    /// # Errors
    /// Where they are wrong, or ask for help or the version only.
    pub fn of_process() -> Result<(Self, Settings), clap::Error> {
        let matches = Self::command().try_get_matches()?;
        let cli = Self::from_arg_matches(&matches)?;
        let settings = cli.settings(&matches);
        Ok((cli, settings))
    }

    /// What flags and environment say, flags first.
    fn settings(&self, matches: &ArgMatches) -> Settings {
        let mut settings = Settings::default();
        for (key, id, value) in [
            (Key::EnvoyAdmin, "envoy_admin", &self.envoy_admin),
            (Key::LogFormat, "log_format", &self.log_format),
            (Key::LogLevel, "log_level", &self.log_level),
            (Key::WebConfigFile, "web_config_file", &self.web_config_file),
            (
                Key::WebEnableLifecycle,
                "web_enable_lifecycle",
                &self.web_enable_lifecycle,
            ),
            (
                Key::WebListenAddress,
                "web_listen_address",
                &self.web_listen_address,
            ),
        ] {
            if let Some(value) = value {
                settings.set_from(place(id, matches), key, value);
            }
        }
        settings
    }
}

/// The flag or the variable that gave an argument.
fn place(id: &str, matches: &ArgMatches) -> String {
    let command = Cli::command();
    let argument = command
        .get_arguments()
        .find(|argument| argument.get_id() == id);
    let is_variable = matches.value_source(id) == Some(ValueSource::EnvVariable);
    let flag = || Some(format!("--{}", argument?.get_long()?));
    let variable = || argument?.get_env()?.to_str().map(str::to_owned);
    let place: Option<String> = if is_variable { variable() } else { flag() };
    place.unwrap_or_else(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        for argument in Cli::command().get_arguments() {
            let Some(flag) = argument.get_long().filter(|flag| flag.contains('.')) else {
                continue;
            };
            let expected = format!("GATEMETER_{}", flag.replace(['.', '-'], "_").to_uppercase());
            assert_eq!(
                argument.get_env().and_then(|env| env.to_str()),
                Some(expected.as_str())
            );
        }
    }
}
