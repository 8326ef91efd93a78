//! Which cluster the first argument of a gRPC call names: a serialized
//! `envoy.config.core.v3.GrpcService`, or else the name itself.
//!
//! Envoy takes every text that happens to be a Protocol Buffers message for
//! one (`context.cc`, `grpcCall`), so a cluster may have a name that no plugin
//! can call; here too.

use crate::abi::Status;

/// The fields of `GrpcService` that name a target.
const ENVOY_GRPC: u64 = 1;
const GOOGLE_GRPC: u64 = 2;
/// The field of `GrpcService.EnvoyGrpc` with the name of the cluster.
const CLUSTER_NAME: u64 = 1;
/// How deep groups may nest, as in Protocol Buffers.
const DEPTH: u32 = 100;

/// The cluster that `service` names. A message may name one that does not
/// exist; a plain text may not.
///
/// # Errors
///
/// [`Status::PARSE_FAILURE`] for a text that is neither a message nor the name
/// of a cluster that `known` knows; [`Status::BAD_ARGUMENT`] for a message
/// without a target; [`Status::INTERNAL_FAILURE`] for one with a `google_grpc`
/// target, which this host does not have.
pub fn cluster(service: &[u8], known: impl Fn(&str) -> bool) -> Result<String, Status> {
    let Some(fields) = fields(service) else {
        let name = String::from_utf8_lossy(service).into_owned();
        return known(&name).then_some(name).ok_or(Status::PARSE_FAILURE);
    };
    let mut target = Err(Status::BAD_ARGUMENT);
    for (number, value) in fields {
        match (number, value) {
            (ENVOY_GRPC, Some(message)) => {
                let name = envoy_grpc(message).ok_or(Status::PARSE_FAILURE)?;
                target = Ok(name);
            }
            (GOOGLE_GRPC, Some(_)) => target = Err(Status::INTERNAL_FAILURE),
            _ => {}
        }
    }
    target
}

fn envoy_grpc(message: &[u8]) -> Option<String> {
    let mut name = String::new();
    for (number, value) in fields(message)? {
        if let (CLUSTER_NAME, Some(text)) = (number, value) {
            name = String::from_utf8(text.to_vec()).ok()?;
        }
    }
    Some(name)
}

/// A field of a message: its number, and its bytes where it has a length.
type Field<'a> = (u64, Option<&'a [u8]>);

/// The fields of a message, or nothing where the bytes are none.
fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let field = field(&mut bytes, DEPTH)?;
        fields.push(field.ok()?);
    }
    Some(fields)
}

/// The next field; `Err` is the end of the group of that number. A group holds
/// fields too, so many deep.
fn field<'a>(bytes: &mut &'a [u8], depth: u32) -> Option<Result<Field<'a>, u64>> {
    let tag = varint(bytes)?;
    let number = tag >> 3;
    if number == 0 || tag > u64::from(u32::MAX) {
        return None;
    }
    let value = match tag & 7 {
        0 => varint(bytes).map(|_| None)?,
        1 => take(bytes, 8).map(|_| None)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Some(take(bytes, length)?)
        }
        3 => {
            let depth = depth.checked_sub(1)?;
            let end = loop {
                if let Err(end) = field(bytes, depth)? {
                    break end;
                }
            };
            if end != number {
                return None;
            }
            None
        }
        4 => return Some(Err(number)),
        5 => take(bytes, 4).map(|_| None)?,
        _ => return None,
    };
    Some(Ok((number, value)))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::cluster;
    use crate::abi::Status;

    fn auth(service: &[u8]) -> Result<String, Status> {
        cluster(service, |name| name == "auth")
    }

    #[test]
    fn a_text_is_the_name_of_a_cluster_that_exists() {
        assert_eq!(auth(b"auth"), Ok("auth".to_owned()));
        assert_eq!(auth(b"other"), Err(Status::PARSE_FAILURE));
    }

    #[test]
    fn a_message_names_a_cluster_that_need_not_exist() {
        // envoy_grpc { cluster_name: "other" }, timeout {}
        let message = b"\x0a\x07\x0a\x05other\x1a\x00";
        assert_eq!(auth(message), Ok("other".to_owned()));
    }

    #[test]
    fn a_message_without_a_target_is_a_bad_argument_and_googles_is_not_here() {
        assert_eq!(auth(b""), Err(Status::BAD_ARGUMENT));
        assert_eq!(auth(b"\x1a\x00"), Err(Status::BAD_ARGUMENT));
        assert_eq!(auth(b"\x12\x00"), Err(Status::INTERNAL_FAILURE));
    }

    #[test]
    fn a_name_that_happens_to_be_a_message_is_taken_for_one() {
        // A group of field 12 that begins and ends; eight bytes of field 12.
        for name in ["cd", "ingress-1"] {
            let answer = cluster(name.as_bytes(), |_| true);
            assert_eq!(answer, Err(Status::BAD_ARGUMENT), "{name}");
        }
    }

    #[test]
    fn bytes_that_break_off_are_no_message() {
        let deep = [0x0b; 1_000_000];
        for bytes in [
            &b"\x0a"[..],
            b"\x0a\x05au",
            b"\x08\xff",
            b"\x09aaaa",
            b"\x0b",
            &deep,
        ] {
            assert_eq!(auth(bytes), Err(Status::PARSE_FAILURE));
        }
    }
}
