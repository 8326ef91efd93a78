use super::*;
use crate::fake::FakeProxy;
use crate::host::Property;
use crate::recorder::Recorder;
use crate::recorder::tests::{recorder, respond};

const SECOND: u64 = 1_000_000_000;

fn say(recorder: &mut Recorder, proxy: &FakeProxy, host: &str, now: u64, pool: &str) {
    proxy.set_property(Property::UpstreamAddress, host.as_bytes());
    respond(recorder, proxy, now, &[("x-db-pool", pool)]);
}

fn pool(proxy: &FakeProxy) -> (u64, u64) {
    let stat = |state: &str| proxy.stat(&format!("db_connections_{state}.service=api"));
    (stat("active").unwrap(), stat("idle").unwrap())
}

fn api(proxy: &FakeProxy) -> Recorder {
    recorder(proxy, r#"{"service": "api"}"#)
}

#[test]
fn the_gauge_is_the_sum_over_the_hosts_behind_the_proxy() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    say(
        &mut recorder,
        &proxy,
        "10.0.0.1:80",
        1,
        "active=15, idle=25",
    );
    say(&mut recorder, &proxy, "10.0.0.2:80", 2, "active=3, idle=0");
    recorder.tick(&proxy);
    assert_eq!(pool(&proxy), (18, 25));
    say(&mut recorder, &proxy, "10.0.0.1:80", 3, "active=1, idle=39");
    recorder.tick(&proxy);
    assert_eq!(pool(&proxy), (4, 39));
}

#[test]
fn all_workers_show_the_same_sum_whichever_host_they_heard_of() {
    let proxy = FakeProxy::default();
    let (one, two) = (proxy.worker(), proxy.worker());
    let (mut first, mut second) = (api(&one), api(&two));
    say(&mut first, &one, "a", 1, "active=1, idle=1");
    say(&mut second, &two, "b", 2, "active=10, idle=10");
    first.tick(&one);
    second.tick(&two);
    assert_eq!(pool(&proxy), (11, 11));
    // An older word of the same host does not replace a newer one.
    say(&mut second, &two, "a", 9, "active=2, idle=2");
    second.tick(&two);
    say(&mut first, &one, "a", 8, "active=7, idle=7");
    first.tick(&one);
    assert_eq!(pool(&proxy), (12, 12));
}

#[test]
fn a_key_that_a_host_leaves_out_keeps_its_last_number() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    say(&mut recorder, &proxy, "a", 1, "active=1, idle=5");
    recorder.tick(&proxy);
    say(&mut recorder, &proxy, "a", 2, "active=2");
    recorder.tick(&proxy);
    assert_eq!(pool(&proxy), (2, 5));
}

#[test]
fn a_host_that_is_silent_while_others_speak_leaves_the_sum_and_the_last_one_stays() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    say(&mut recorder, &proxy, "a", SECOND, "active=1, idle=1");
    say(&mut recorder, &proxy, "b", 200 * SECOND, "active=5, idle=5");
    recorder.tick(&proxy);
    assert_eq!(pool(&proxy), (6, 6));
    say(&mut recorder, &proxy, "b", 301 * SECOND, "active=5, idle=5");
    recorder.tick(&proxy);
    assert_eq!(pool(&proxy), (5, 5));
    recorder.tick(&proxy);
    assert_eq!(pool(&proxy), (5, 5));
}

#[test]
fn so_many_hosts_are_kept_and_the_quietest_make_room() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    for host in 0..2 * MOST_HOSTS as u64 {
        say(
            &mut recorder,
            &proxy,
            &host.to_string(),
            host + 1,
            "active=1, idle=0",
        );
        recorder.tick(&proxy);
    }
    assert_eq!(pool(&proxy), (MOST_HOSTS as u64, 0));
}

#[test]
fn what_another_worker_says_meanwhile_is_not_lost() {
    let proxy = FakeProxy::default();
    let (one, two) = (proxy.worker(), proxy.worker());
    let (mut first, mut second) = (api(&one), api(&two));
    say(&mut first, &one, "a", 1, "active=1, idle=1");
    say(&mut second, &two, "b", 1, "active=2, idle=2");
    let mut once = Some(second);
    one.before_each_write(move |_| {
        if let Some(mut second) = once.take() {
            second.tick(&two);
        }
    });
    first.tick(&one);
    assert_eq!(pool(&proxy), (3, 3));
}

#[test]
fn any_dictionary_can_feed_any_gauge() {
    let proxy = FakeProxy::default();
    let json = r#"{"service": "api", "signals": [
        {"name": "render_queue_depth", "type": "gauge", "help": "Jobs that wait.",
         "dictionary": {"header": "X-Queue", "key": "depth"}}]}"#;
    let mut recorder = recorder(&proxy, json);
    respond(&mut recorder, &proxy, 1, &[("x-queue", "depth=4, max=9")]);
    recorder.tick(&proxy);
    assert_eq!(proxy.stat("render_queue_depth.service=api"), Some(4));
    let family = "gatemeter_family.service=api.metric=render_queue_depth.type=gauge.help=Jobs%20that%20wait%2E";
    assert_eq!(proxy.stat(family), Some(1));
}
