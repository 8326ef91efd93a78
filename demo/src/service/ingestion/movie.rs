//! The length and the picture size of a movie in an ISO base media file
//! (ISO/IEC 14496-12): the boxes `moov/mvhd` (§8.2.2) and `moov/trak/tkhd` (§8.3.2).
//!
//! Only headers are read and boxes are skipped by seeking, so the media data is
//! not read wherever it stands. A box that is longer than what it stands in ends
//! the reading there: what was found until then counts.

use std::io::{self, Read, Seek, SeekFrom};

/// The most boxes that are looked at; movies have some dozens.
const MAX_BOXES: usize = 1_000;

/// What the headers tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Movie {
    /// In milliseconds.
    pub(super) duration_ms: Option<u64>,
    /// Width and height of the largest track, in pixels.
    pub(super) size: Option<(u16, u16)>,
}

/// Reads the headers of the movie in `file`.
///
/// # Errors
///
/// Those of reading; a malformed movie is none.
pub(super) fn read(file: &mut (impl Read + Seek)) -> io::Result<Movie> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut movie = Movie::default();
    let mut left = MAX_BOXES;
    walk(file, 0, end, &mut left, &mut movie)?;
    Ok(movie)
}

/// Reads the boxes from `at` to `end`, and those within the ones of interest.
fn walk(
    file: &mut (impl Read + Seek),
    mut at: u64,
    end: u64,
    left: &mut usize,
    movie: &mut Movie,
) -> io::Result<()> {
    // §4.2.2: four bytes of size and four of type; size 1 means that eight bytes
    // of size follow, size 0 that the box ends with the file.
    while *left > 0 && end.saturating_sub(at) >= 8 {
        *left -= 1;
        file.seek(SeekFrom::Start(at))?;
        let (size, kind) = (
            u64::from(u32::from_be_bytes(bytes(file)?)),
            bytes::<4>(file)?,
        );
        let (size, header) = match size {
            0 => (end - at, 8),
            1 if end - at >= 16 => (u64::from_be_bytes(bytes(file)?), 16),
            size => (size, 8),
        };
        if size < header || size > end - at {
            return Ok(());
        }
        let next = at + size;
        match &kind {
            b"moov" | b"trak" => walk(file, at + header, next, left, movie)?,
            b"mvhd" if size - header >= 32 => movie.duration_ms = duration_ms(file)?,
            b"tkhd" if size - header >= 84 => {
                // The last eight bytes, as 16.16 fixed-point numbers.
                file.seek(SeekFrom::Start(next - 8))?;
                let (width, height) = (bytes::<4>(file)?, bytes::<4>(file)?);
                let whole = |fixed: [u8; 4]| u16::from_be_bytes([fixed[0], fixed[1]]);
                let size = (whole(width), whole(height));
                if size > (0, 0) {
                    movie.size = movie.size.max(Some(size));
                }
            }
            _ => {}
        }
        at = next;
    }
    Ok(())
}

/// What follows the header of `mvhd`: two times, the units of a second, the
/// duration in them; `None` where it is not known.
fn duration_ms(file: &mut impl Read) -> io::Result<Option<u64>> {
    let [version, ..] = bytes::<4>(file)?;
    let (units, duration) = if version == 1 {
        bytes::<16>(file)?;
        (
            u32::from_be_bytes(bytes(file)?),
            u64::from_be_bytes(bytes(file)?),
        )
    } else {
        bytes::<8>(file)?;
        let (units, duration) = (bytes(file)?, u32::from_be_bytes(bytes(file)?));
        let unknown = duration == u32::MAX;
        let duration = if unknown { u64::MAX } else { duration.into() };
        (u32::from_be_bytes(units), duration)
    };
    if units == 0 || duration == u64::MAX {
        return Ok(None);
    }
    Ok(u64::try_from(u128::from(duration) * 1000 / u128::from(units)).ok())
}

fn bytes<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Cursor;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len() + 8).unwrap();
        [&size.to_be_bytes(), kind.as_slice(), content].concat()
    }

    fn mvhd(units: u32, duration: u32) -> Vec<u8> {
        let rest = [0; 80];
        boxed(
            b"mvhd",
            &[
                &[0; 12],
                &units.to_be_bytes()[..],
                &duration.to_be_bytes(),
                &rest,
            ]
            .concat(),
        )
    }

    fn trak(width: u16, height: u16) -> Vec<u8> {
        let fixed = |number: u16| [number.to_be_bytes(), [0; 2]].concat();
        boxed(
            b"trak",
            &boxed(
                b"tkhd",
                &[&[0; 76], &fixed(width)[..], &fixed(height)].concat(),
            ),
        )
    }

    /// Sound and a picture of 1280 by 720, 6.5 seconds, media data first.
    pub(in super::super) fn movie() -> Vec<u8> {
        let moov = [mvhd(600, 3_900), trak(0, 0), trak(1280, 720)].concat();
        [
            boxed(b"ftyp", b"isom\0\0\x02\0isomiso2mp41"),
            boxed(b"mdat", &[7; 5_000]),
            boxed(b"moov", &moov),
        ]
        .concat()
    }

    fn read(bytes: &[u8]) -> Movie {
        super::read(&mut Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn reads_length_and_size_behind_the_media_data() {
        let expected = Movie {
            duration_ms: Some(6_500),
            size: Some((1280, 720)),
        };
        assert_eq!(read(&movie()), expected);
    }

    #[test]
    fn reads_long_sizes_and_long_times() {
        let content = [
            &[1, 0, 0, 0][..],
            &[0; 16],
            &1_000_u32.to_be_bytes(),
            &u64::from(u32::MAX).to_be_bytes(),
            &[0; 80],
        ]
        .concat();
        let moov = boxed(b"moov", &boxed(b"mvhd", &content));
        let large = [
            &1_u32.to_be_bytes()[..],
            b"mdat",
            &26_u64.to_be_bytes(),
            &[0; 10],
        ]
        .concat();
        let movie = read(&[large, moov].concat());
        assert_eq!(movie.duration_ms, Some(u64::from(u32::MAX)));
    }

    #[test]
    fn an_unknown_length_is_none() {
        for mvhd in [mvhd(0, 5), mvhd(600, u32::MAX)] {
            assert_eq!(read(&boxed(b"moov", &mvhd)).duration_ms, None);
        }
    }

    #[test]
    fn a_box_that_is_too_long_or_too_short_ends_the_reading() {
        let mut cut = movie();
        cut.truncate(cut.len() - 1);
        assert_eq!(read(&cut), Movie::default(), "moov is longer than the file");
        let shorter = [&4_u32.to_be_bytes()[..], b"free", &movie()].concat();
        assert_eq!(read(&shorter), Movie::default());
        // A box to the end of the file is whole.
        let open = [&0_u32.to_be_bytes()[..], b"moov", &mvhd(1, 2)].concat();
        assert_eq!(read(&open).duration_ms, Some(2_000));
    }

    #[test]
    fn any_prefix_and_any_number_of_boxes_is_read_to_an_end() {
        let movie = movie();
        for end in 0..movie.len() {
            read(&movie[..end]);
        }
        let many = [
            boxed(b"free", b"").repeat(MAX_BOXES),
            boxed(b"moov", &mvhd(1, 1)),
        ]
        .concat();
        assert_eq!(read(&many), Movie::default());
        // Nested as deep as there are bytes.
        let nested = (0..2_000).fold(Vec::new(), |inner, _| boxed(b"trak", &inner));
        assert_eq!(read(&nested), Movie::default());
    }
}
