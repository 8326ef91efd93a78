//! What a service says, read back with the filter's own parsers: the limits
//! stand in two crates that do not know each other, and must be the same.

use std::time::Duration;

use gatemeter_core::signals::{Room, cache_status, dictionary, server_timing};
use gatemeter_signals::{Pool, Signals};

/// Members that the filter reads of the headers, and whether all of them can
/// be read.
fn read(headers: &[(&'static str, String)]) -> (usize, bool) {
    let mut room = Room::default();
    let (mut members, mut whole) = (0, true);
    for (name, value) in headers {
        let line = value.as_bytes();
        let is_read = match *name {
            "cache-status" => {
                cache_status::read(line, &mut room).map(|found| members += found.len())
            }
            "server-timing" => server_timing::read(line, &mut room, |_, _| members += 1),
            "x-db-pool" => {
                let keys = ["active", "idle"];
                dictionary::read(line, &keys, &mut room)
                    .map(|numbers| members += numbers.iter().count())
            }
            other => panic!("no header of this test: {other}"),
        };
        whole &= is_read.is_ok();
    }
    (members, whole)
}

/// The most that `say` can say in turn, told one by one, until more is not sent.
fn filled(say: impl Fn(&Signals, usize)) -> Vec<(&'static str, String)> {
    let signals = Signals::new();
    signals.pool(Pool {
        active: 15,
        idle: 25,
    });
    let mut before = signals.headers();
    for nth in 0..1000 {
        say(&signals, nth);
        let now = signals.headers();
        if now == before {
            return now;
        }
        before = now;
    }
    panic!("a thousand members, and there is room for more");
}

#[test]
fn the_filter_reads_all_that_there_is_room_for_by_bytes() {
    for length in 1..=64 {
        let name = "x".repeat(length);
        let headers = filled(|signals, _| signals.cache(&name).ttl(30).hit());
        let (members, whole) = read(&headers);
        assert!(whole && members > 2, "{members} of {headers:?}");
        let sent: usize = headers.iter().map(|(_, value)| value.len() + 64).sum();
        let next = ", ".len() + length + ";hit;ttl=30".len();
        let parts = 2 + (members - 2) * 3;
        assert!(
            sent <= 1024 && (sent + next > 1024 || parts + 3 > 64),
            "{sent} bytes and {parts} parts are sent; another takes {next} and 3"
        );
    }
}

#[test]
fn the_filter_reads_all_that_there_is_room_for_by_parts() {
    let headers = filled(|signals, _| signals.took("a", Duration::from_micros(1)));
    assert_eq!(read(&headers), (2 + 31, true), "{headers:?}");
}

#[test]
fn the_filter_reads_all_of_two_lists_that_share_the_room() {
    let headers = filled(|signals, nth| {
        if nth % 2 == 0 {
            signals.cache("edge").miss();
        } else {
            signals.took("db", Duration::from_millis(12));
        }
    });
    let (members, whole) = read(&headers);
    assert!(whole && members > 20, "{members} of {headers:?}");
    assert_eq!(headers.len(), 3);
}
