//! What single values accept.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use tracing::level_filters::LevelFilter;

use super::{LogFormat, reader::Rule, targets::SourceUrl};
use crate::admin::AdminAddress;

pub(super) const ADMIN: Rule<AdminAddress> =
    Rule::new("http://HOST:PORT or unix:/PATH", |text| text.parse().ok());

pub(super) const SOURCE_URL: Rule<SourceUrl> =
    Rule::new("http://HOST:PORT/PATH or unix:/SOCKET:/PATH", |text| {
        text.parse().ok()
    });

pub(super) const DURATION: Rule<Duration> = Rule::new(
    "a duration from 1ms to 1h such as 500ms, 10s or 1m",
    |text| between(text, Duration::from_millis(1), HOUR),
);

pub(super) const INTERVAL: Rule<Duration> =
    Rule::new("a duration from 1s to 1m such as 5s", |text| {
        between(text, Duration::from_secs(1), Duration::from_mins(1))
    });

pub(super) const EXPIRY: Rule<Option<Duration>> = Rule::new(
    "0s for never, or a duration from 1s to 720h such as 15m or 24h",
    |text| match duration(text)? {
        Duration::ZERO => Some(None),
        _ => between(text, Duration::from_secs(1), 720 * HOUR).map(Some),
    },
);

pub(super) const BYTES: Rule<u64> =
    Rule::new("a number of bytes from 1024 to 17179869184", |text| {
        whole(text).filter(|bytes| (1 << 10..=1 << 34).contains(bytes))
    });

pub(super) const CONNECTIONS: Rule<usize> = Rule::new("a number from 1 to 65536", |text| {
    let number = usize::try_from(whole(text)?).ok()?;
    (1..=65_536).contains(&number).then_some(number)
});

pub(super) const LISTEN_ADDRESS: Rule<SocketAddr> = Rule::new(
    "ADDRESS:PORT such as 127.0.0.1:9464 or [::1]:9464, or :PORT for all interfaces",
    listen_address,
);

pub(crate) const SWITCH: Rule<bool> = Rule::new("true or false", |text| match text {
    "true" => Some(true),
    "false" => Some(false),
    _ => None,
});

pub(super) const LOG_LEVEL: Rule<LevelFilter> =
    Rule::new("error, warn, info, debug or trace", |text| match text {
        "error" => Some(LevelFilter::ERROR),
        "warn" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        "debug" => Some(LevelFilter::DEBUG),
        "trace" => Some(LevelFilter::TRACE),
        _ => None,
    });

pub(super) const LOG_FORMAT: Rule<LogFormat> = Rule::new("text or json", |text| match text {
    "json" => Some(LogFormat::Json),
    "text" => Some(LogFormat::Text),
    _ => None,
});

pub(crate) const PATH: Rule<PathBuf> = Rule::new("the path of a file", |text| {
    let is_path = !text.is_empty() && !text.contains('\0');
    is_path.then(|| PathBuf::from(text))
});

/// As the filter's configuration has it.
pub(super) const SERVICE: Rule<String> = Rule::new("1 to 64 letters, digits, _ and -", |text| {
    let is_name = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    is_name.then(|| text.to_owned())
});

/// Without anything that a query string would have to escape.
pub(super) const ENVOY_NAME: Rule<String> =
    Rule::new("1 to 64 letters, digits, _, - and .", |text| {
        let is_name = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        is_name.then(|| text.to_owned())
    });

/// Prometheus' data model, without the names that it keeps for itself.
pub(super) const LABEL_NAME: Rule<String> = Rule::new(
    "1 to 64 letters, digits and _, no digit first, no __ first",
    |text| {
        let is_name = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !text.starts_with(|first: char| first.is_ascii_digit())
            && !text.starts_with("__");
        is_name.then(|| text.to_owned())
    },
);

pub(super) const LABEL_VALUE: Rule<String> =
    Rule::new("1 to 128 characters without control characters", |text| {
        let is_value =
            (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        is_value.then(|| text.to_owned())
    });

const HOUR: Duration = Duration::from_hours(1);

fn between(text: &str, least: Duration, most: Duration) -> Option<Duration> {
    duration(text).filter(|duration| (least..=most).contains(duration))
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number = whole(number)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

fn listen_address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix(':') {
        let port = whole(port)?.try_into().ok()?;
        return Some((Ipv4Addr::UNSPECIFIED, port).into());
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        let port = whole(port)?.try_into().ok()?;
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().ok()
}

fn whole(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}
