//! Codings of a body, and how a page is packed.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// Coding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coding {
    /// gzip, RFC 1952.
    Gzip,
    /// As it is.
    Identity,
    /// Zstandard, RFC 8878, in a window that RFC 9659 allows.
    Zstd,
}

impl Coding {
    /// Every coding.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Identity, Self::Zstd];

    /// The value of `Content-Encoding`; none where the body is as it is.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
            Self::Zstd => Some("zstd"),
        }
    }
}

/// Packs a page. Large ones take milliseconds: not for a thread that serves
/// sockets.
pub fn encode(coding: Coding, page: &[Bytes]) -> Bytes {
    let write = |to: &mut dyn Write| {
        for piece in page {
            to.write_all(piece)?;
        }
        Ok(())
    };
    // Writing to a Vec cannot fail, and where there is no memory nothing works.
    let packed: io::Result<Vec<u8>> = match coding {
        Coding::Identity => Ok(page.concat()),
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            write(&mut encoder).and_then(|()| encoder.finish())
        }
        Coding::Zstd => zstd::Encoder::new(Vec::new(), ZSTD_LEVEL).and_then(|mut encoder| {
            write(&mut encoder)?;
            encoder.finish()
        }),
    };
    packed.unwrap_or_default().into()
}

/// Packs a page of metrics smaller than gzip does, in a sixth of the time; higher
/// levels take longer and pack such text no better.
const ZSTD_LEVEL: i32 = 1;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        match coding {
            Coding::Gzip => {
                flate2::read::GzDecoder::new(bytes)
                    .read_to_end(&mut text)
                    .unwrap();
            }
            Coding::Identity => text.extend_from_slice(bytes),
            Coding::Zstd => {
                // The most that a client of RFC 9659 has to accept.
                let mut decoder = zstd::stream::read::Decoder::new(bytes).unwrap();
                decoder.window_log_max(23).unwrap();
                decoder.read_to_end(&mut text).unwrap();
            }
        }
        text
    }

    #[test]
    fn gives_back_what_was_packed_and_packs_a_page_well_in_zstd_better() {
        let mut page = String::new();
        for path in 0..50_000 {
            page += &format!("http_requests_total{{method=\"GET\",path=\"/{path}\"}} {path}\n");
        }
        for text in [page.as_str(), "", "a"] {
            for coding in Coding::ALL {
                let (first, second) = text.split_at(text.len() / 2);
                let pieces = [first, second].map(|piece| Bytes::copy_from_slice(piece.as_bytes()));
                let packed = encode(coding, &pieces);
                assert_eq!(decoded(coding, &packed), text.as_bytes(), "{coding:?}");
                if coding == Coding::Gzip && text.len() > 1000 {
                    assert!(packed.len() * 4 < text.len(), "{}", packed.len());
                    let zstd = encode(Coding::Zstd, &[Bytes::copy_from_slice(text.as_bytes())]);
                    assert!(zstd.len() < packed.len(), "{}", zstd.len());
                }
            }
        }
    }
}
