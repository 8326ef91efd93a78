//! The vocabulary of Proxy-Wasm 0.2.1 and 0.2.0: status codes, map, buffer,
//! metric and stream types, with the numbers that the ABI gives them.
//!
//! [`imports`] are the functions that a module may import from `env`, [`wasi`]
//! those from `wasi_snapshot_preview1`, [`callback`] and [`exports`] those that
//! it exports, [`pairs`] how a map looks in memory.
//! This module decides nothing: an answer comes from whoever implements
//! [`host::Host`].

pub mod callback;
pub mod exports;
pub mod host;
pub mod imports;
pub mod pairs;
pub mod wasi;

use std::fmt;

/// The version of the ABI that a module says it was built for. They differ in
/// one import: `proxy_get_log_level` is new in 0.2.1
/// (`WasmBase::registerCallbacks` of proxy-wasm-cpp-host).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// `proxy_abi_version_0_2_0`
    V0_2_0,
    /// `proxy_abi_version_0_2_1`
    V0_2_1,
}

impl Version {
    /// The version that the export `name` declares, if this host speaks it.
    #[must_use]
    pub fn declared_by(name: &str) -> Option<Self> {
        match name {
            "proxy_abi_version_0_2_0" => Some(Self::V0_2_0),
            "proxy_abi_version_0_2_1" => Some(Self::V0_2_1),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V0_2_0 => "0.2.0",
            Self::V0_2_1 => "0.2.1",
        })
    }
}

/// What a host call answers. Any number can be made, since a test also wants
/// to know what a filter does with one that the ABI does not name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub u32);

impl Status {
    /// The call did what it says.
    pub const OK: Self = Self(0);
    /// The thing asked for does not exist.
    pub const NOT_FOUND: Self = Self(1);
    /// An argument is wrong, or the call is not possible in this phase.
    pub const BAD_ARGUMENT: Self = Self(2);
    /// The host could not serialise the value.
    pub const SERIALIZATION_FAILURE: Self = Self(3);
    /// The host could not parse what the module handed over.
    pub const PARSE_FAILURE: Self = Self(4);
    /// An expression could not be evaluated.
    pub const BAD_EXPRESSION: Self = Self(5);
    /// A pointer leaves the module's memory, or the module could not allocate.
    pub const INVALID_MEMORY_ACCESS: Self = Self(6);
    /// A queue has nothing in it.
    pub const EMPTY: Self = Self(7);
    /// Somebody else changed the shared value first.
    pub const CAS_MISMATCH: Self = Self(8);
    /// A result has another type than expected.
    pub const RESULT_MISMATCH: Self = Self(9);
    /// The host failed.
    pub const INTERNAL_FAILURE: Self = Self(10);
    /// The connection of a call broke.
    pub const BROKEN_CONNECTION: Self = Self(11);
    /// The host does not have this function.
    pub const UNIMPLEMENTED: Self = Self(12);

    /// The name in the specification, or `UNKNOWN`.
    #[must_use]
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 13] = [
            "OK",
            "NOT_FOUND",
            "BAD_ARGUMENT",
            "SERIALIZATION_FAILURE",
            "PARSE_FAILURE",
            "BAD_EXPRESSION",
            "INVALID_MEMORY_ACCESS",
            "EMPTY",
            "CAS_MISMATCH",
            "RESULT_MISMATCH",
            "INTERNAL_FAILURE",
            "BROKEN_CONNECTION",
            "UNIMPLEMENTED",
        ];
        usize::try_from(self.0)
            .ok()
            .and_then(|index| NAMES.get(index).copied())
            .unwrap_or("UNKNOWN")
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.name(), self.0)
    }
}

/// Generates an enum whose numbers are the ABI's, with the way back from a
/// number that a module handed over.
macro_rules! abi_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant = $number,)* }

        impl TryFrom<u32> for $name {
            type Error = Status;

            /// # Errors
            ///
            /// [`Status::BAD_ARGUMENT`] for a number that the ABI does not have.
            fn try_from(number: u32) -> Result<Self, Status> {
                match number {
                    $($number => Ok(Self::$variant),)*
                    _ => Err(Status::BAD_ARGUMENT),
                }
            }
        }
    };
}

abi_enum! {
    /// The severity of a log line.
    LogLevel {
        /// Finest.
        Trace = 0,
        /// For the developer.
        Debug = 1,
        /// For the operator, normal.
        Info = 2,
        /// Something is odd.
        Warn = 3,
        /// Something failed.
        Error = 4,
        /// The plugin cannot go on; a panic of the Rust SDK says it here.
        Critical = 5,
    }
}

abi_enum! {
    /// Which map a header call means.
    MapType {
        /// Request headers.
        RequestHeaders = 0,
        /// Request trailers.
        RequestTrailers = 1,
        /// Response headers.
        ResponseHeaders = 2,
        /// Response trailers.
        ResponseTrailers = 3,
        /// Initial metadata of a gRPC call of the plugin.
        GrpcReceiveInitialMetadata = 4,
        /// Trailing metadata of a gRPC call of the plugin.
        GrpcReceiveTrailingMetadata = 5,
        /// Headers of the answer to an HTTP call of the plugin.
        HttpCallResponseHeaders = 6,
        /// Trailers of the answer to an HTTP call of the plugin.
        HttpCallResponseTrailers = 7,
    }
}

abi_enum! {
    /// Which buffer a buffer call means.
    BufferType {
        /// Request body.
        RequestBody = 0,
        /// Response body.
        ResponseBody = 1,
        /// Bytes from the downstream connection.
        DownstreamData = 2,
        /// Bytes from the upstream connection.
        UpstreamData = 3,
        /// Body of the answer to an HTTP call of the plugin.
        HttpCallResponseBody = 4,
        /// Message of a gRPC call of the plugin.
        GrpcReceiveBuffer = 5,
        /// The configuration of the virtual machine.
        VmConfiguration = 6,
        /// The configuration of the plugin.
        PluginConfiguration = 7,
        /// Arguments of a foreign function.
        CallData = 8,
    }
}

abi_enum! {
    /// What a metric is.
    MetricType {
        /// Only grows.
        Counter = 0,
        /// Goes up and down.
        Gauge = 1,
        /// Takes samples.
        Histogram = 2,
    }
}

abi_enum! {
    /// Which half of a stream a call means.
    StreamType {
        /// The request of an HTTP exchange.
        Request = 0,
        /// The response of an HTTP exchange.
        Response = 1,
        /// The downstream side of a connection.
        Downstream = 2,
        /// The upstream side of a connection.
        Upstream = 3,
    }
}

#[cfg(test)]
mod tests {
    use super::{MapType, Status};

    #[test]
    fn a_status_prints_its_name_and_its_number() {
        assert_eq!(format!("{:?}", Status::CAS_MISMATCH), "CAS_MISMATCH (8)");
        assert_eq!(format!("{:?}", Status(255)), "UNKNOWN (255)");
    }

    #[test]
    fn a_map_type_outside_the_abi_is_a_bad_argument() {
        assert_eq!(MapType::try_from(7), Ok(MapType::HttpCallResponseTrailers));
        assert_eq!(MapType::try_from(8), Err(Status::BAD_ARGUMENT));
    }
}
