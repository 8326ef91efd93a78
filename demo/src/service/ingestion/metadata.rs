//! What an upload is, from its own bytes: the type by its first bytes, the size
//! of a picture, the size and the length of a movie.
//!
//! A file that is damaged, or no medium at all, has less to tell and is no error.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::movie;

/// How many bytes tell the type.
const HEAD_BYTES: u64 = 8 * 1024;

/// What is known of an upload; what is not known is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    /// `image/png`, `video/mp4`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    /// In pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) width: Option<u64>,
    /// In pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) height: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_ms: Option<u64>,
}

/// Reads the file at `path`; blocks.
///
/// # Errors
///
/// Where the file cannot be read.
pub(super) fn extract(path: &Path) -> io::Result<Metadata> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut head = Vec::new();
    reader.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    let Some(kind) = infer::get(&head) else {
        return Ok(Metadata::default());
    };
    reader.seek(SeekFrom::Start(0))?;
    let mut metadata = Metadata {
        media_type: Some(kind.mime_type().to_owned()),
        ..Metadata::default()
    };
    match (kind.matcher_type(), kind.extension()) {
        (infer::MatcherType::Image, _) => {
            if let Ok(size) = imagesize::reader_size(reader) {
                metadata.width = Some(size.width as u64);
                metadata.height = Some(size.height as u64);
            }
        }
        (_, "mp4" | "m4v" | "m4a" | "mov") => {
            let movie = movie::read(&mut reader)?;
            metadata.duration_ms = movie.duration_ms;
            if let Some((width, height)) = movie.size {
                metadata.width = Some(width.into());
                metadata.height = Some(height.into());
            }
        }
        _ => {}
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extracted(bytes: &[u8]) -> Metadata {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upload");
        std::fs::write(&path, bytes).unwrap();
        extract(&path).unwrap()
    }

    #[test]
    fn a_picture_has_a_type_and_a_size() {
        // The signature and the header of a PNG: 640 by 360 pixels.
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x02\x80\0\0\x01\x68\x08\x02\0\0\0";
        let metadata = extracted(png);
        assert_eq!(metadata.media_type.as_deref(), Some("image/png"));
        assert_eq!((metadata.width, metadata.height), (Some(640), Some(360)));
        // Cut within the header: still a PNG.
        let metadata = extracted(&png[..18]);
        assert_eq!(metadata.media_type.as_deref(), Some("image/png"));
        assert_eq!(metadata.width, None);
    }

    #[test]
    fn a_movie_has_a_type_a_size_and_a_length() {
        let metadata = extracted(&movie::tests::movie());
        assert_eq!(
            metadata,
            Metadata {
                media_type: Some("video/mp4".to_owned()),
                width: Some(1280),
                height: Some(720),
                duration_ms: Some(6_500),
            }
        );
    }

    #[test]
    fn what_is_no_medium_has_nothing_to_tell() {
        for bytes in [&b""[..], b"a film", b"\0\0\0\x08free"] {
            assert_eq!(extracted(bytes), Metadata::default());
        }
        let text = serde_json::to_string(&Metadata::default()).unwrap();
        assert_eq!(text, "{}");
    }
}
