//! Content negotiation: which format and coding of a page a client gets.
//!
//! RFC 9110 §12.5.1 (Accept) and §12.5.3 (Accept-Encoding), with q values. A
//! client that accepts none of ours gets the text format, as Prometheus
//! exporters do, rather than a 406. Nothing here fails: an element that cannot
//! be read counts for nothing.

mod coding;

use http::{HeaderMap, HeaderName, header};

pub use self::coding::{Coding, encode};
use crate::exposition::Format;

/// The format that `Accept` prefers.
pub fn format(headers: &HeaderMap) -> Format {
    let mut best: Option<(u16, Format)> = None;
    for element in elements(headers, &header::ACCEPT) {
        let version = element.parameter("version");
        let format = match element.name.as_str() {
            "application/openmetrics-text" if version.is_none_or(|v| v == "1.0.0") => {
                Format::OpenMetrics
            }
            "text/plain" if version.is_none_or(|v| v == "0.0.4") => Format::Text,
            "text/*" | "*/*" => Format::Text,
            _ => continue,
        };
        if element.quality > 0 && best.is_none_or(|(quality, _)| element.quality > quality) {
            best = Some((element.quality, format));
        }
    }
    best.map_or(Format::Text, |(_, format)| format)
}

/// The format that a `Content-Type` names; a text without a version is 0.0.4,
/// and any version of it is read as that.
pub fn content_type(value: &str) -> Option<Format> {
    let element = element(value)?;
    let version = element.parameter("version");
    match element.name.as_str() {
        "application/openmetrics-text"
            if version.is_none_or(|v| matches!(v, "1.0.0" | "0.0.1")) =>
        {
            Some(Format::OpenMetrics)
        }
        "text/plain" => Some(Format::Text),
        _ => None,
    }
}

/// The coding that `Accept-Encoding` prefers among those that it names.
///
/// Prometheus names gzip alone and gets it. `curl --compressed` and browsers
/// name both as equal, and get zstd: it costs both sides less.
pub fn coding(headers: &HeaderMap) -> Coding {
    let (mut gzip, mut zstd) = (0, 0);
    // Allowed unless refused, but less wanted than what is named.
    let mut identity = 1;
    for element in elements(headers, &header::ACCEPT_ENCODING) {
        match element.name.as_str() {
            "gzip" | "x-gzip" => gzip = element.quality,
            "identity" => identity = element.quality,
            "zstd" => zstd = element.quality,
            _ => {}
        }
    }
    if zstd > 0 && zstd >= gzip.max(identity) {
        Coding::Zstd
    } else if gzip > 0 && gzip >= identity {
        Coding::Gzip
    } else {
        Coding::Identity
    }
}

struct Element {
    /// In lower case.
    name: String,
    parameters: Vec<(String, String)>,
    /// Thousandths, 0 to 1000.
    quality: u16,
}

impl Element {
    fn parameter(&self, name: &str) -> Option<&str> {
        let (_, value) = self.parameters.iter().find(|(n, _)| n == name)?;
        Some(value)
    }
}

fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = Element> + 'h {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(element)
}

fn element(text: &str) -> Option<Element> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next()?.to_ascii_lowercase();
    let mut element = Element {
        name,
        parameters: Vec::new(),
        quality: 1000,
    };
    for part in parts {
        let Some((name, value)) = part.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase() {
            name if name == "q" => element.quality = quality(value)?,
            name => element.parameters.push((name, value.to_owned())),
        }
    }
    Some(element)
}

/// RFC 9110 §12.4.2: `0` to `1` with at most three digits after the point.
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn gives_openmetrics_where_it_is_preferred_and_text_otherwise() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,\
            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, expected) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            (
                "application/openmetrics-text;q=0.1, text/plain",
                Format::Text,
            ),
            ("application/openmetrics-text;q=0, */*;q=0.1", Format::Text),
            (
                "application/openmetrics-text;q=2, text/plain;q=0.1",
                Format::Text,
            ),
            ("application/json", Format::Text),
            ("*/*", Format::Text),
            ("", Format::Text),
            (",;=;q=,", Format::Text),
        ] {
            assert_eq!(
                format(&with(header::ACCEPT, &[accept])),
                expected,
                "{accept}"
            );
        }
        assert_eq!(format(&HeaderMap::new()), Format::Text);
        assert_eq!(
            format(&with(
                header::ACCEPT,
                &["text/plain;q=0.5", "application/openmetrics-text;q=0.6"]
            )),
            Format::OpenMetrics
        );
    }

    #[test]
    fn packs_only_in_what_is_named_and_not_refused_and_in_zstd_among_equals() {
        for (accept, expected) in [
            ("gzip", Coding::Gzip),
            ("GZIP;q=1.0", Coding::Gzip),
            ("deflate, gzip;q=1.0, *;q=0.5", Coding::Gzip),
            ("gzip;q=0", Coding::Identity),
            ("gzip;q=0.5, identity", Coding::Identity),
            ("zstd", Coding::Zstd),
            ("deflate, gzip, br, zstd", Coding::Zstd),
            ("zstd, gzip", Coding::Zstd),
            ("zstd;q=0.9, gzip", Coding::Gzip),
            ("zstd;q=0, gzip;q=0.001", Coding::Gzip),
            ("zstd;q=0.5, gzip;q=0.4, identity;q=0.6", Coding::Identity),
            ("identity;q=0, zstd;q=0.1", Coding::Zstd),
            ("*", Coding::Identity),
            ("br", Coding::Identity),
            ("", Coding::Identity),
        ] {
            let headers = with(header::ACCEPT_ENCODING, &[accept]);
            assert_eq!(coding(&headers), expected, "{accept}");
        }
        assert_eq!(coding(&HeaderMap::new()), Coding::Identity);
    }
}
