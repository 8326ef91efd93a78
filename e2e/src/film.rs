//! A film that a player can play: an HLS stream (RFC 8216) in two bitrates far
//! apart, made by ffmpeg from a test pattern and kept below `target/`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};

use crate::artefact;

/// Length of a segment; each begins with a key frame.
pub const SEGMENT_SECONDS: u32 = 2;
/// Length of the film.
const SECONDS: u32 = 60;
/// Bits a second of video in the better and in the worse bitrate. Sound and
/// packets come to about 50 kbit/s more.
const VIDEO: [u32; 2] = [1_200_000, 100_000];

/// Two tests that run at once do not make it twice.
static MAKING: Mutex<()> = Mutex::new(());

/// A film in a folder.
#[derive(Clone, Debug)]
pub struct Film {
    folder: PathBuf,
}

impl Film {
    /// The film, which is made if it is not there yet; that takes seconds.
    ///
    /// # Errors
    ///
    /// ffmpeg is missing or fails.
    pub fn make() -> Result<Self> {
        let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let [better, worse] = VIDEO;
        let name = format!("film-{SECONDS}s-{SEGMENT_SECONDS}s-{better}-{worse}");
        let folder = artefact::target().join(name);
        if !folder.is_dir() {
            std::fs::create_dir_all(artefact::target())?;
            // Made aside and moved, so that no half film is left.
            let aside = tempfile::tempdir_in(artefact::target())?;
            write(aside.path())?;
            std::fs::rename(aside.path(), &folder)?;
        }
        Ok(Self { folder })
    }

    /// Where `master.m3u8` is, and the rest below.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn write(folder: &Path) -> Result<()> {
    let mut command = Command::new(artefact::tool("ffmpeg")?);
    command
        .current_dir(folder)
        .args(["-v", "error", "-nostdin"]);
    // A moving picture with noise in it, for it has to fill the bitrate, a
    // small one of it, and a tone.
    command
        .args(["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440"])
        .args(["-t", &SECONDS.to_string()])
        .args([
            "-filter_complex",
            "noise=alls=20:allf=t,split[large][other];[other]scale=160:90[small]",
        ]);
    let gop = (25 * SEGMENT_SECONDS).to_string();
    for (stream, (picture, rate)) in ["[large]", "[small]"].iter().zip(VIDEO).enumerate() {
        command.args(["-map", picture, "-map", "1:a"]);
        for (option, value) in [("b", rate), ("maxrate", rate), ("bufsize", rate / 2)] {
            command.args([format!("-{option}:v:{stream}"), value.to_string()]);
        }
    }
    command
        .args(["-c:v", "libx264", "-preset", "ultrafast"])
        .args(["-profile:v", "baseline", "-pix_fmt", "yuv420p"])
        .args(["-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0"])
        .args(["-c:a", "aac", "-b:a", "32k", "-ac", "1"])
        .args(["-f", "hls", "-hls_playlist_type", "vod"])
        .args(["-hls_time", &SEGMENT_SECONDS.to_string()])
        .args(["-master_pl_name", "master.m3u8"])
        .args(["-var_stream_map", "v:0,a:0,name:high v:1,a:1,name:low"])
        .args(["-hls_segment_filename", "%v/%d.ts", "%v/media.m3u8"]);
    let made = command.output()?;
    ensure!(
        made.status.success(),
        "ffmpeg: {}\n{}",
        made.status,
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}
