use super::*;
use crate::fake::FakeProxy;
use crate::recorder::tests::recorder;
use crate::recorder::{Asked, Recorder};

const SECOND: u64 = 1_000_000_000;
const PLAYBACK: &str = r#"{"service": "api", "preset": "playback"}"#;

/// A request with this CMCD as query argument.
fn ask(recorder: &mut Recorder, proxy: &FakeProxy, now: u64, cmcd: &str) {
    let path = format!(
        "/seg?CMCD={}",
        cmcd.replace(',', "%2C")
            .replace('=', "%3D")
            .replace('"', "%22")
    );
    recorder.asked_all(
        proxy,
        Some(path.as_bytes()),
        Some(now),
        &mut Asked::default(),
    );
}

fn count(proxy: &FakeProxy, name: &str) -> u64 {
    proxy.stat(name).unwrap()
}

fn changes(proxy: &FakeProxy) -> (u64, u64) {
    let of = |direction: &str| {
        count(
            proxy,
            &format!("stream_bitrate_changes_total.service=api.direction={direction}"),
        )
    };
    (of("up"), of("down"))
}

fn starts(proxy: &FakeProxy) -> (u64, u64) {
    let bins = proxy.stats("stream_init_duration_seconds_bin.service=api.le=");
    let sum = count(proxy, "stream_init_duration_nanoseconds_sum.service=api");
    (bins.values().sum(), sum)
}

#[test]
fn a_playback_is_seen_whole_though_its_requests_reach_different_workers() {
    let proxy = FakeProxy::default();
    let workers = [proxy.worker(), proxy.worker()];
    let mut recorders = [
        recorder(&workers[0], PLAYBACK),
        recorder(&workers[1], PLAYBACK),
    ];
    let requests = [
        (1, r#"ot=m,sid="a",su"#),
        (1, r#"br=800,ot=v,sid="a",su"#),
        (2, r#"br=64,ot=a,sid="a",su"#),
        (3, r#"br=800,ot=v,sid="a""#),
        (5, r#"br=3200,ot=v,sid="a""#),
        (6, r#"br=64,ot=a,sid="a""#),
        (7, r#"bs,br=800,ot=v,sid="a",su"#),
        (9, r#"br=800,ot=v,sid="a""#),
        (11, r#"br=3200,ot=av,sid="a""#),
        (11, r#"br=3200,ot=v,sid="b""#),
    ];
    for (at, (seconds, cmcd)) in requests.into_iter().enumerate() {
        ask(
            &mut recorders[at % 2],
            &workers[at % 2],
            seconds * SECOND,
            cmcd,
        );
    }
    for (recorder, worker) in recorders.iter_mut().zip(&workers) {
        recorder.tick(worker);
    }
    assert_eq!(changes(&proxy), (2, 1));
    assert_eq!(count(&proxy, "stream_buffer_events_total.service=api"), 1);
    assert_eq!(starts(&proxy), (1, 2 * SECOND));
}

#[test]
fn a_player_that_says_itself_how_long_its_start_took_is_believed() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, PLAYBACK);
    ask(&mut recorder, &proxy, SECOND, r#"ot=m,sid="a",su,v=2"#);
    ask(
        &mut recorder,
        &proxy,
        2 * SECOND,
        r#"msd=350,ot=v,sid="a",su,v=2"#,
    );
    ask(&mut recorder, &proxy, 3 * SECOND, r#"ot=v,sid="a",v=2"#);
    recorder.tick(&proxy);
    assert_eq!(starts(&proxy), (1, 350_000_000));
}

#[test]
fn a_session_that_is_met_in_the_middle_has_no_start() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, PLAYBACK);
    ask(&mut recorder, &proxy, SECOND, r#"br=800,ot=v,sid="a""#);
    ask(&mut recorder, &proxy, 2 * SECOND, r#"br=900,ot=v,sid="a""#);
    recorder.tick(&proxy);
    assert_eq!(starts(&proxy), (0, 0));
    assert_eq!(changes(&proxy), (1, 0));
}

#[test]
fn without_a_session_only_stalls_count() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, PLAYBACK);
    ask(&mut recorder, &proxy, SECOND, "br=800,bs,ot=v");
    ask(&mut recorder, &proxy, SECOND, "br=900,ot=v");
    recorder.tick(&proxy);
    assert_eq!(changes(&proxy), (0, 0));
    assert_eq!(count(&proxy, "stream_buffer_events_total.service=api"), 1);
}

#[test]
fn a_flood_of_sessions_makes_the_quietest_forgotten_and_counts_it() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, PLAYBACK);
    for session in 0..BUCKETS * PER_BUCKET * 2 {
        let cmcd = format!(r#"br=800,ot=v,sid="{session}""#);
        ask(&mut recorder, &proxy, SECOND + session as u64, &cmcd);
    }
    recorder.tick(&proxy);
    let evicted = count(&proxy, "gatemeter_sessions_evicted_total.service=api");
    let most = (BUCKETS * PER_BUCKET) as u64;
    assert!(evicted >= most, "{evicted} of {most}");
    // The last one is still known.
    let last = BUCKETS * PER_BUCKET * 2 - 1;
    let cmcd = format!(r#"br=900,ot=v,sid="{last}""#);
    ask(&mut recorder, &proxy, 2 * SECOND, &cmcd);
    recorder.tick(&proxy);
    assert_eq!(changes(&proxy), (1, 0));
}

#[test]
fn sessions_that_are_over_make_room_without_being_counted() {
    let mut sessions: Vec<Session> = (0..PER_BUCKET as u64)
        .map(|id| Session {
            id,
            heard: id,
            began: 0,
            bitrate: 1,
        })
        .collect();
    assert_eq!(make_room(&mut sessions, FORGOTTEN + 10), 0);
    assert_eq!(sessions.len(), PER_BUCKET - 11);
}

#[test]
fn a_full_table_lets_only_the_quietest_go() {
    let heard = |id| FORGOTTEN + PER_BUCKET as u64 - id;
    let mut sessions: Vec<Session> = (0..PER_BUCKET as u64)
        .map(|id| Session {
            id,
            heard: heard(id),
            began: 0,
            bitrate: 1,
        })
        .collect();
    assert_eq!(make_room(&mut sessions, heard(0)), 1);
    assert_eq!(sessions.len(), PER_BUCKET - 1);
    let quietest = PER_BUCKET as u64 - 1;
    assert!(sessions.iter().all(|session| session.id != quietest));
}

#[test]
fn headers_and_argument_say_the_same_once() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, PLAYBACK);
    let mut asked = Asked::default();
    recorder.ask(b"cmcd-status", b"bs", &mut asked);
    recorder.ask(b"cmcd-session", b"sid=\"a\"", &mut asked);
    recorder.asked_all(&proxy, Some(b"/seg?CMCD=bs"), Some(SECOND), &mut asked);
    recorder.tick(&proxy);
    assert_eq!(count(&proxy, "stream_buffer_events_total.service=api"), 1);
}

#[test]
fn what_is_malformed_is_counted_as_an_error_of_the_signal() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, PLAYBACK);
    let mut asked = Asked::default();
    recorder.ask(b"cmcd-status", b"bs,=", &mut asked);
    recorder.asked_all(&proxy, Some(b"/"), Some(SECOND), &mut asked);
    recorder.tick(&proxy);
    assert_eq!(
        count(
            &proxy,
            "gatemeter_signal_errors_total.service=api.signal=cmcd"
        ),
        1
    );
    assert_eq!(count(&proxy, "stream_buffer_events_total.service=api"), 0);
}

#[test]
fn players_are_not_listened_to_where_nobody_asks_for_it() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, r#"{"service": "api"}"#);
    assert!(!recorder.asks());
    ask(&mut recorder, &proxy, SECOND, r#"bs,sid="a""#);
    recorder.tick(&proxy);
    assert_eq!(proxy.stat("stream_buffer_events_total.service=api"), None);
    assert_eq!(
        proxy.stat("gatemeter_sessions_evicted_total.service=api"),
        None
    );
}
