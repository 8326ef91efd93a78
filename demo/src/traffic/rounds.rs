//! What a round is, service by service. The number of the round changes what is
//! asked for, so that caches miss from time to time, within a set that is small.

use std::f32::consts::TAU;

use axum::http::{Method, header};

use super::Lane;
use super::player::Session;

/// How often, in rounds, the logins run into their limit.
const ROUNDS_BETWEEN_BURSTS: u64 = 10;
/// More logins than the limit lets through at once.
const BURST: usize = 40;
/// How many different files are uploaded.
const FILES: u64 = 16;

const WORDS: [&str; 6] = [
    "winter",
    "harbour",
    "signal",
    "documentary",
    "golden+river",
    "sumer",
];

pub(super) async fn api(lane: &mut Lane, round: u64) {
    lane.get("/api/content").await;
    for id in [1, 2, 1, 3 + round % 50] {
        lane.get(&format!("/api/content/{id}")).await;
    }
    lane.get("/api/content/100000").await;
    let title = r#"{"title":"New","genre":"drama","duration_seconds":60}"#;
    lane.json(Method::PUT, "/api/content/200", title).await;
    lane.request(Method::DELETE, "/api/content/200", [], Vec::new())
        .await;
    lane.get("/api/content/3/stream?events=3&interval_ms=20")
        .await;
    for password in ["demo", "guess"] {
        let credentials = format!(r#"{{"user":"demo","password":"{password}"}}"#);
        lane.json(Method::POST, "/api/login", &credentials).await;
    }
    if round.is_multiple_of(ROUNDS_BETWEEN_BURSTS) {
        let nobody = r#"{"user":"nobody","password":"guess"}"#;
        for _ in 0..BURST {
            let json = (header::CONTENT_TYPE, "application/json".to_owned());
            lane.request_now(Method::POST, "/api/login", [json], nobody.into())
                .await;
        }
    }
    lane.get("/api/status/500").await;
    lane.get("/api/slow?ms=120").await;
    // It holds a connection of the pool.
    lane.get("/api/content/1?delay_ms=80").await;
}

pub(super) async fn discovery(lane: &mut Lane, round: u64) {
    for (turn, word) in (0..).zip(WORDS) {
        lane.get(&format!("/search?q={word}")).await;
        let viewer = (round + turn) % 20 + 1;
        lane.get(&format!("/recommendations/{viewer}")).await;
    }
    lane.get("/search?q=nothing+like+it").await;
    lane.get("/recommendations/nobody").await;
}

pub(super) async fn playback(lane: &mut Lane, round: u64) {
    let title = round % 20 + 1;
    let session = Session::begin(title);
    let event = |kind, position_ms| {
        format!(r#"{{"viewer":"viewer-{title}","kind":"{kind}","position_ms":{position_ms}}}"#)
    };
    let path = |rest: &str| format!("/playback/{title}/{rest}");
    lane.request(
        Method::GET,
        &path("manifest"),
        session.manifest(),
        Vec::new(),
    )
    .await;
    for (n, headers) in session.segments().into_iter().enumerate() {
        let segment = format!("segments/{n}");
        lane.request(Method::GET, &path(&segment), headers, Vec::new())
            .await;
        if n == 0 {
            lane.json(Method::POST, &path("events"), &event("start", 0))
                .await;
        }
    }
    lane.json(Method::POST, &path("events"), &event("buffer", 18_000))
        .await;
    lane.get("/playback/100000/manifest").await;
}

pub(super) async fn ingestion(lane: &mut Lane, round: u64) {
    let file = u8::try_from(round % FILES).unwrap_or(0);
    for upload in [picture(file), sound(file)] {
        let location = lane.request(Method::POST, "/ingest", [], upload).await;
        if let Some(location) = location {
            lane.get(&location).await;
            lane.get(&location).await;
        }
    }
    lane.get("/ingest/000000000000000000000000").await;
    // An upload that is refused: the delay is too long.
    lane.request(Method::POST, "/ingest?delay_ms=5001", [], sound(file))
        .await;
}

/// A GIF of one dot on a canvas whose width is `n` and some.
fn picture(n: u8) -> Vec<u8> {
    let canvas = [&b"GIF89a"[..], &[n + 1, 0, 9, 0], b"\x80\0\0"].concat();
    let colours = b"\0\0\0\xff\xff\xff";
    let dot = b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    [&canvas, &colours[..], dot].concat()
}

/// A WAV of one second at 8 kHz, 8 bits a sample; the pitch goes up with `n`.
fn sound(n: u8) -> Vec<u8> {
    const RATE: u16 = 8_000;
    let rate = u32::from(RATE);
    let pitch = f32::from(n) * 20.0 + 220.0;
    let samples = (0..RATE).map(|at| {
        let wave = (f32::from(at) / f32::from(RATE) * pitch * TAU).sin();
        // 128 is silence.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "28 to 228"
        )]
        let sample = (128.0 + 100.0 * wave) as u8;
        sample
    });
    // One channel, PCM: bytes a second, bytes a sample, bits a sample.
    let format = [
        &16_u32.to_le_bytes()[..],
        &[1, 0, 1, 0],
        &rate.to_le_bytes(),
        &rate.to_le_bytes(),
        &[1, 0, 8, 0],
    ]
    .concat();
    let mut file = [
        b"RIFF",
        &(rate + 36).to_le_bytes()[..],
        b"WAVEfmt ",
        &format,
        b"data",
        &rate.to_le_bytes(),
    ]
    .concat();
    file.extend(samples);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_what_they_seem() {
        let size = imagesize::blob_size(&picture(15)).unwrap();
        assert_eq!((size.width, size.height), (16, 9));
        let kind = |file: &[u8]| infer::get(file).map(|kind| kind.mime_type());
        assert_eq!(kind(&picture(0)), Some("image/gif"));
        let sound = sound(0);
        assert_eq!(kind(&sound), Some("audio/x-wav"));
        // RIFF counts what follows its own header.
        let counted = u32::from_le_bytes(sound[4..8].try_into().unwrap());
        assert_eq!(sound.len(), usize::try_from(counted).unwrap() + 8);
    }
}
