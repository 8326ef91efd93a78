//! Functions of the proxy that a plugin calls by name. Envoy 1.40 has ten
//! (`source/extensions/common/wasm/foreign.cc`); those that need nothing but
//! their arguments are here, and a test adds others or puts its own in their
//! place.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::rc::Rc;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::abi::Status;
use crate::abi::host::ForeignFunction;

/// The functions of Envoy that answer [`Status::NOT_FOUND`] here until a test
/// gives them.
pub const NOT_EMULATED: [&str; 7] = [
    "declare_property",
    "expr_create",
    "expr_delete",
    "expr_evaluate",
    "set_envoy_filter_state",
    "sign",
    "verify_signature",
];

/// The functions of a process, by name.
#[derive(Clone)]
pub struct ForeignFunctions(BTreeMap<Vec<u8>, ForeignFunction>);

impl fmt::Debug for ForeignFunctions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.keys().map(|name| String::from_utf8_lossy(name));
        formatter.debug_set().entries(names).finish()
    }
}

impl Default for ForeignFunctions {
    fn default() -> Self {
        let mut functions = Self(BTreeMap::new());
        functions.register("compress", compress);
        functions.register("uncompress", uncompress);
        // The route is the test's affair, so there is nothing to forget.
        functions.register("clear_route_cache", |_| Ok(Vec::new()));
        functions
    }
}

impl ForeignFunctions {
    /// Adds a function, in place of one with that name.
    pub fn register(
        &mut self,
        name: &str,
        body: impl Fn(&[u8]) -> Result<Vec<u8>, Status> + 'static,
    ) {
        self.0.insert(name.as_bytes().to_vec(), Rc::new(body));
    }

    /// The function of that name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<ForeignFunction> {
        self.0.get(name).cloned()
    }
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>, Status> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_err(|_| Status::SERIALIZATION_FAILURE)
}

fn uncompress(bytes: &[u8]) -> Result<Vec<u8>, Status> {
    let mut out = Vec::new();
    let read = ZlibDecoder::new(bytes).read_to_end(&mut out);
    read.map_err(|_| Status::SERIALIZATION_FAILURE)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{ForeignFunctions, NOT_EMULATED};
    use crate::abi::Status;

    #[test]
    fn what_is_compressed_is_uncompressed_again() {
        let functions = ForeignFunctions::default();
        let call = |name: &[u8], bytes: &[u8]| functions.get(name).expect("a function")(bytes);
        let text = b"abc".repeat(100);
        let small = call(b"compress", &text).expect("compressed");
        assert!(small.len() < 30, "{}", small.len());
        assert_eq!(call(b"uncompress", &small), Ok(text));
        let broken = call(b"uncompress", &small[..10]);
        assert_eq!(broken, Err(Status::SERIALIZATION_FAILURE));
    }

    #[test]
    fn what_is_not_emulated_is_not_there() {
        let functions = ForeignFunctions::default();
        for name in NOT_EMULATED {
            assert!(functions.get(name.as_bytes()).is_none(), "{name}");
        }
    }
}
