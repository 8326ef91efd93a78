//! The page and its files, embedded in the program.
//!
//! They are what is in `bridge/assets`, byte for byte: there is no build step.
//! A browser asks each time whether it has the newest (`no-cache`) and is told
//! so by the entity tag (RFC 9110, section 8.8.3). The policy lets the page load
//! nothing from elsewhere, run no inline script, and make no markup from text.

use std::sync::LazyLock;

use axum::{Router, response::Response, routing::get};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($path:literal, $kind:expr, $file:literal) => {
        Asset {
            path: $path,
            kind: $kind,
            bytes: include_bytes!(concat!("../../assets/", $file)),
        }
    };
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

static ASSETS: [Asset; 12] = [
    asset!("/", HTML, "live/index.html"),
    asset!("/live/style.css", STYLE, "live/style.css"),
    asset!("/live/app.js", SCRIPT, "live/app.js"),
    asset!("/live/charts.js", SCRIPT, "live/charts.js"),
    asset!("/live/format.js", SCRIPT, "live/format.js"),
    asset!("/live/markup.js", SCRIPT, "live/markup.js"),
    asset!("/live/past.js", SCRIPT, "live/past.js"),
    asset!("/live/views.js", SCRIPT, "live/views.js"),
    asset!("/live/theme.js", SCRIPT, "live/theme.js"),
    asset!("/live/icon.svg", PICTURE, "live/icon.svg"),
    asset!("/live/uplot.js", SCRIPT, "vendor/uplot/uPlot.iife.min.js"),
    asset!("/live/uplot.css", STYLE, "vendor/uplot/uPlot.min.css"),
];

/// One tag for each asset, in their order.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |asset: &Asset| {
        let digest = Sha256::digest(asset.bytes);
        let digits: String = digest
            .iter()
            .take(12)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        HeaderValue::try_from(format!("\"{digits}\"")).unwrap_or(HeaderValue::from_static("\"\""))
    };
    ASSETS.iter().map(tag).collect()
});

pub(super) fn router() -> Router {
    ASSETS
        .iter()
        .zip(TAGS.iter())
        .fold(Router::new(), |router, (asset, tag)| {
            let answer = async move |headers: HeaderMap| asset.answer(tag, &headers);
            router.route(asset.path, get(answer))
        })
}

impl Asset {
    fn answer(&self, tag: &HeaderValue, asked: &HeaderMap) -> Response {
        let is_known = asked
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|known| known.to_str().ok())
            .flat_map(|known| known.split(','))
            .any(|known| known.trim().trim_start_matches("W/") == tag);
        let mut response = Response::new(if is_known {
            axum::body::Body::empty()
        } else {
            axum::body::Body::from(self.bytes)
        });
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(header::ETAG, tag.clone());
        for (name, value) in [
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_TYPE, self.kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `sha256sum` says of the files of uplot 1.6.32 from npm.
    #[test]
    fn the_vendored_files_are_those_that_npm_gave() {
        for (path, digest) in [
            (
                "/live/uplot.js",
                "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
            ),
            (
                "/live/uplot.css",
                "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
            ),
        ] {
            let asset = ASSETS.iter().find(|asset| asset.path == path).unwrap();
            let actual: String = Sha256::digest(asset.bytes)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(actual, digest, "{path}");
        }
    }

    #[test]
    fn no_file_makes_markup_from_text_or_names_another_origin() {
        for asset in ASSETS.iter().filter(|asset| !asset.path.contains("uplot")) {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "style=\"",
                "onclick=",
                "https://",
                "//cdn",
            ] {
                assert!(!text.contains(word), "{} has {word}", asset.path);
            }
        }
    }
}
