//! Envoy's response flags as the bits of the attribute `response.flags`, by the
//! names of its access log ("RESPONSE_FLAGS"): those that tests and scenarios
//! set. Any other number can be given too.

/// No healthy host in the cluster.
pub const UH: i64 = 0x2;
/// The service did not answer in time.
pub const UT: i64 = 0x4;
/// The service reset the stream.
pub const UR: i64 = 0x10;
/// The connection to the service could not be made.
pub const UF: i64 = 0x20;
/// The connection to the service was cut.
pub const UC: i64 = 0x40;
/// The cluster has no room.
pub const UO: i64 = 0x80;
/// No route matches.
pub const NR: i64 = 0x100;
/// The client cut its connection.
pub const DC: i64 = 0x4000;
/// The stream was idle for too long.
pub const SI: i64 = 0x1_0000;
/// The client broke the protocol.
pub const DPE: i64 = 0x4_0000;
/// The client reset its HTTP/2 or HTTP/3 stream.
pub const DR: i64 = 0x1000_0000;
