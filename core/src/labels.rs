//! The closed sets of label values: methods, statuses, Envoy's response flags.
//!
//! HTTP/2 lets a client invent methods and an upstream may send any three
//! digits; what is not in the set becomes [`OTHER`], as OpenTelemetry's HTTP
//! conventions do it.

use crate::words::{is, same};

/// Value of a label for everything outside its closed set.
pub const OTHER: &str = "_OTHER";

/// A request method, known or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Method(u8);

const METHODS: [&str; 11] = [
    OTHER, "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
];

impl Method {
    /// What is none of the known methods.
    pub const OTHER: Self = Self(0);

    /// CONNECT, whose 2xx opens a tunnel (RFC 9110 §9.3.6).
    pub const CONNECT: Self = Self(6);

    /// The method of a `:method` pseudo-header; methods are case-sensitive
    /// (RFC 9110 §9.1).
    #[inline]
    pub fn new(token: &[u8]) -> Self {
        // Most requests are this one.
        if is(token, b"GET") {
            return Self(1);
        }
        Self::rarer(token)
    }

    #[inline(never)]
    fn rarer(token: &[u8]) -> Self {
        METHODS
            .iter()
            .skip(1)
            .position(|method| same(method.as_bytes(), token))
            .and_then(|at| u8::try_from(at + 1).ok())
            .map_or(Self::OTHER, Self)
    }

    /// Value of the label `method`.
    pub fn as_str(self) -> &'static str {
        METHODS.get(usize::from(self.0)).copied().unwrap_or(OTHER)
    }

    /// Every value of the label.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..).zip(METHODS).map(|(index, _)| Self(index))
    }

    /// The method at a position in the closed set.
    pub(crate) const fn of_index(index: u8) -> Self {
        Self(index)
    }

    /// Position in the closed set, below 16.
    #[inline]
    pub(crate) const fn index(self) -> u8 {
        self.0
    }
}

/// A response status as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(u16);

impl Status {
    /// No status, or one outside 100 to 599.
    pub const OTHER: Self = Self(0);

    /// No response, because the client went away; the code that nginx uses.
    pub const CLIENT_CLOSED: Self = Self(499);

    /// The status of a `:status` pseudo-header: exactly three digits, 100 to 599.
    #[inline]
    pub fn new(text: &[u8]) -> Self {
        // Most responses are this one.
        if is(text, b"200") {
            return Self(200);
        }
        Self::rarer(text)
    }

    #[inline(never)]
    fn rarer(text: &[u8]) -> Self {
        let &[a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] = text else {
            return Self::OTHER;
        };
        let digit = |byte: u8| u16::from(byte - b'0');
        Self(digit(a) * 100 + digit(b) * 10 + digit(c))
    }

    /// The status with this [`code`](Self::code).
    pub(crate) const fn of_code(code: u16) -> Self {
        Self(code)
    }

    /// 100 to 599, or 0 for [`Self::OTHER`].
    #[inline]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// Whether a service that answers so has the path: informational,
    /// success or redirect.
    #[inline]
    pub const fn is_below_400(self) -> bool {
        self.0 >= 100 && self.0 < 400
    }

    /// Whether the side of the service failed.
    #[inline]
    pub const fn is_server_error(self) -> bool {
        self.0 >= 500
    }

    /// Whether nothing failed on the side of the service, and there is a status.
    #[inline]
    pub const fn is_ordinary(self) -> bool {
        !self.is_server_error() && self.0 != Self::OTHER.0
    }

    /// Value of the label `status`.
    pub fn label(self) -> StatusLabel {
        let digit = |value: u16| b'0' + u8::try_from(value % 10).unwrap_or(0);
        StatusLabel {
            other: self == Self::OTHER,
            digits: [digit(self.0 / 100), digit(self.0 / 10), digit(self.0)],
        }
    }
}

/// Text of a [`Status`], without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct StatusLabel {
    other: bool,
    digits: [u8; 3],
}

impl StatusLabel {
    /// Three digits, or `_OTHER`.
    pub fn as_str(&self) -> &str {
        if self.other {
            return OTHER;
        }
        str::from_utf8(&self.digits).unwrap_or(OTHER)
    }
}

/// Envoy's response flags of one exchange: a bit a flag, in the order of
/// Envoy's `CoreResponseFlag`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags(pub u64);

/// Short names, as Envoy's access log prints them with `%RESPONSE_FLAGS%`.
pub const RESPONSE_FLAGS: [&str; 30] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR",
    "UDO",
];

const DOWNSTREAM_CONNECTION_TERMINATION: u64 = 1 << 14;
const UPSTREAM_RETRY_LIMIT_EXCEEDED: u64 = 1 << 15;
const DOWNSTREAM_REMOTE_RESET: u64 = 1 << 28;

impl ResponseFlags {
    /// Whether the client closed the connection or reset the stream.
    pub const fn client_went_away(self) -> bool {
        self.0 & (DOWNSTREAM_CONNECTION_TERMINATION | DOWNSTREAM_REMOTE_RESET) != 0
    }

    /// Index in [`RESPONSE_FLAGS`] of the flag that says why; `None` where no
    /// flag is set, `RESPONSE_FLAGS.len()` for one that is not known here.
    ///
    /// Several may be set. The lowest is the nearest to the cause; that the
    /// retries were used up (`URX`) is said only where nothing else is.
    pub fn reason(self) -> Option<usize> {
        let cause = self.0 & !UPSTREAM_RETRY_LIMIT_EXCEEDED;
        let flags = if cause == 0 { self.0 } else { cause };
        if flags == 0 {
            return None;
        }
        let index = flags.trailing_zeros() as usize;
        Some(index.min(RESPONSE_FLAGS.len()))
    }
}

/// Value of the label `reason` for an index that [`ResponseFlags::reason`] gave.
pub fn reason_label(index: usize) -> &'static str {
    RESPONSE_FLAGS.get(index).copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_method_keeps_its_name_and_any_other_token_is_other() {
        for method in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
        ] {
            assert_eq!(Method::new(method.as_bytes()).as_str(), method);
        }
        for token in [b"get".as_slice(), b"", b"BREW", b"\xff", b"_OTHER", b"GET "] {
            assert_eq!(Method::new(token), Method::OTHER);
        }
        assert_eq!(Method::new(b"CONNECT"), Method::CONNECT);
    }

    #[test]
    fn a_status_is_three_digits_from_100_to_599() {
        for code in 100..600_u16 {
            let text = code.to_string();
            let status = Status::new(text.as_bytes());
            assert_eq!(status.code(), code);
            assert_eq!(status.label().as_str(), text);
        }
        for text in [
            "", "0", "99", "099", "600", "999", "20", "2000", "2x0", " 200", "-20",
        ] {
            let status = Status::new(text.as_bytes());
            assert_eq!(status, Status::OTHER, "{text}");
            assert_eq!(status.label().as_str(), OTHER);
        }
    }

    #[test]
    fn a_service_has_the_path_below_400_and_has_failed_from_500_on() {
        for (code, has_path, failed) in [
            ("100", true, false),
            ("399", true, false),
            ("400", false, false),
            ("499", false, false),
            ("500", false, true),
            ("x", false, false),
        ] {
            let status = Status::new(code.as_bytes());
            assert_eq!(status.is_below_400(), has_path, "{code}");
            assert_eq!(status.is_server_error(), failed, "{code}");
        }
    }

    #[test]
    fn a_client_that_went_away_is_known_by_the_flags_measured_on_envoy() {
        assert!(ResponseFlags(16_384).client_went_away());
        assert!(ResponseFlags(268_435_456).client_went_away());
        assert!(!ResponseFlags(1 << 8).client_went_away());
    }

    #[test]
    fn the_reason_is_the_flag_nearest_to_the_cause() {
        let name = |flags| ResponseFlags(flags).reason().map(reason_label);
        assert_eq!(name(0), None);
        assert_eq!(name(1 << 5 | 1 << 15), Some("UF"));
        assert_eq!(name(1 << 15), Some("URX"));
        assert_eq!(name(1 << 23 | 1 << 15), Some("UPE"));
        assert_eq!(name(1 << 8), Some("NR"));
        assert_eq!(name(1 << 40), Some(OTHER));
    }
}
