use proptest::prelude::*;

use super::*;
use crate::{
    families::Reading,
    live::point::{Route, RouteTotals, ServiceTotals},
};

const INTERVAL: Duration = Duration::from_secs(5);
const BOUNDS: [u64; 2] = [5_000_000, 100_000_000];

fn ring() -> Ring {
    Ring::new(INTERVAL)
}

/// The moment `number` intervals after the start.
fn at(number: u32) -> At {
    At {
        elapsed: INTERVAL * number,
        unix_ms: 1_000_000 + 5_000 * u64::from(number),
    }
}

fn read(name: Option<&str>, totals: Totals) -> Read {
    Read {
        name: name.map(Arc::from),
        about: EnvoyState::default(),
        totals: Ok(totals),
    }
}

fn unread() -> Read {
    Read {
        name: None,
        about: EnvoyState::default(),
        totals: Err(Unread {
            reason: "connect",
            text: "connection refused".to_owned(),
        }),
    }
}

/// What a route answered, by status, and how many of all took at most 5 ms.
type Given<'g> = (&'g str, &'g [(u16, u64)], u64);

/// Totals of one service named api; the rest of the requests took 100 ms.
fn api(ring: &Ring, routes: &[Given<'_>]) -> Totals {
    let mut service = ServiceTotals {
        bounds: BOUNDS.into(),
        ..ServiceTotals::default()
    };
    for (path, statuses, fast) in routes {
        let mut counts = Counts::default();
        for (status, count) in *statuses {
            counts.classes[usize::from(status / 100 - 1)] += count;
        }
        counts.bins = vec![*fast, counts.requests() - fast, 0];
        service.sum.add(&counts);
        let route = Route {
            method: "GET".into(),
            path: (*path).into(),
        };
        let key = ring.hashes().of("GET", path);
        service.routes.insert(key, RouteTotals { route, counts });
    }
    Totals {
        services: [(Arc::from("api"), service)].into(),
    }
}

fn see(ring: &mut Ring, number: u32, routes: &[Given<'_>]) {
    let totals = api(ring, routes);
    ring.observe(at(number), vec![read(None, totals)]);
}

/// Requests of a moment's first service, by class.
fn classes(moment: &Moment) -> [u64; CLASSES] {
    let mut sum = [0; CLASSES];
    for route in moment.services.iter().flat_map(|service| &service.routes) {
        for (sum, class) in sum.iter_mut().zip(route.classes) {
            *sum += u64::from(class);
        }
    }
    sum
}

fn bins(moment: &Moment) -> Vec<u64> {
    let mut sum = Vec::new();
    for route in moment.services.iter().flat_map(|service| &service.routes) {
        sum.resize(route.bins.len().max(sum.len()), 0);
        for (sum, bin) in sum.iter_mut().zip(&route.bins) {
            *sum += u64::from(*bin);
        }
    }
    sum
}

fn moments(ring: &Ring) -> Vec<&Moment> {
    ring.moments_from(0).map(|(_, moment)| moment).collect()
}

fn last(ring: &Ring) -> &Moment {
    moments(ring).last().unwrap()
}

#[test]
fn takes_services_routes_caches_and_health_from_a_reading() {
    let stats = "\
http.api.downstream_rq_active: 3
wasmcustom.cache_hits_total.service=api.cache_type=redis: 8
wasmcustom.cache_misses_total.service=api.cache_type=redis: 2
wasmcustom.db_connections_active.service=api: 15
wasmcustom.db_connections_idle.service=api: 25
wasmcustom.gatemeter_series.service=api: 7
wasmcustom.gatemeter_signal_errors_total.service=api.signal=cache: 4
wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/a.status=200.le=0.001: 45
wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/a.status=404.le=0.005: 5
wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/a.status=503.le=+Inf: 1
wasmcustom.http_request_duration_seconds_bin.service=api.method=PUT.path=/b.status=101.le=0.001: 2
";
    let reading = Reading::of(stats.as_bytes(), &Default::default());
    let hashes = Hashes::default();
    let totals = Totals::new(&reading, &hashes);
    let service = &totals.services["api"];
    assert_eq!(service.sum.classes, [2, 45, 0, 5, 1, 0]);
    let route = &service.routes[&hashes.of("GET", "/a")];
    assert_eq!(route.counts.classes, [0, 45, 0, 5, 1, 0]);
    assert_eq!(service.bounds.len(), 11);
    assert_eq!(route.counts.bins, [45, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(service.sum.bins, [47, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(service.caches["redis"], [8, 2]);
    assert_eq!((service.active, service.pool), (Some(3), Some([15, 25])));
    assert_eq!(service.health.series, Some(7));
    assert_eq!(service.health.signal_errors["cache"], 4);
}

#[test]
fn the_first_read_is_where_counting_begins() {
    let mut ring = ring();
    see(&mut ring, 0, &[("/a", &[(200, 1000)], 1000)]);
    assert_eq!(last(&ring).span, None);
    assert_eq!(classes(last(&ring)), [0; CLASSES]);
    see(&mut ring, 1, &[("/a", &[(200, 1007), (503, 1)], 1005)]);
    assert_eq!(last(&ring).span, Some(INTERVAL));
    assert_eq!(classes(last(&ring)), [0, 7, 0, 0, 1, 0]);
    assert_eq!(bins(last(&ring)), [5, 3, 0]);
    assert_eq!(ring.services[0].latest.classes, [0, 1007, 0, 0, 1, 0]);
}

#[test]
fn a_counter_that_fell_began_again_from_zero() {
    let mut ring = ring();
    see(
        &mut ring,
        0,
        &[("/a", &[(200, 100)], 100), ("/b", &[(200, 1)], 1)],
    );
    see(
        &mut ring,
        1,
        &[("/a", &[(200, 110)], 110), ("/b", &[(200, 1)], 1)],
    );
    // /b has more than before, and all of it is new.
    see(
        &mut ring,
        2,
        &[("/a", &[(200, 4)], 4), ("/b", &[(200, 3)], 3)],
    );
    assert!(last(&ring).is_reset);
    assert_eq!(classes(last(&ring)), [0, 7, 0, 0, 0, 0]);
    assert_eq!(bins(last(&ring)), [7, 0, 0]);
    see(
        &mut ring,
        3,
        &[("/a", &[(200, 5)], 5), ("/b", &[(200, 3)], 3)],
    );
    assert!(!last(&ring).is_reset);
    assert_eq!(classes(last(&ring)), [0, 1, 0, 0, 0, 0]);
}

#[test]
fn a_series_that_is_left_out_for_a_while_is_no_restart_and_no_traffic() {
    let mut ring = ring();
    let both: [Given<'_>; 2] = [("/a", &[(200, 100)], 100), ("/b", &[(200, 50)], 50)];
    see(&mut ring, 0, &both);
    see(&mut ring, 1, &both[..1]);
    see(&mut ring, 2, &both[..1]);
    see(&mut ring, 3, &both);
    for moment in moments(&ring) {
        assert!(!moment.is_reset);
        assert_eq!(classes(moment), [0; CLASSES]);
    }
}

#[test]
fn a_read_that_failed_is_a_gap_and_what_came_meanwhile_is_in_the_next_moment() {
    let mut ring = ring();
    see(&mut ring, 0, &[("/a", &[(200, 10)], 10)]);
    ring.observe(at(1), vec![unread()]);
    ring.observe(at(2), vec![unread()]);
    let gap = last(&ring);
    assert!(gap.is_gap && gap.services.is_empty());
    assert_eq!(gap.span, None);
    let unread = ring.envoys[0].state.as_ref().unwrap_err();
    assert_eq!(unread.reason, "connect");
    assert_eq!(ring.envoys[0].since, at(1));
    see(&mut ring, 3, &[("/a", &[(200, 40)], 40)]);
    assert_eq!(last(&ring).span, Some(3 * INTERVAL));
    assert_eq!(classes(last(&ring)), [0, 30, 0, 0, 0, 0]);
    assert_eq!(ring.envoys[0].since, at(3));
}

#[test]
fn several_envoys_are_added_up_and_one_may_begin_again_alone() {
    let mut ring = ring();
    let both = |ring: &mut Ring, number, first: u64, second: u64| {
        let reads = [("one", first), ("two", second)]
            .map(|(name, count)| read(Some(name), api(ring, &[("/a", &[(200, count)], count)])));
        ring.observe(at(number), reads.into());
    };
    both(&mut ring, 0, 100, 1000);
    both(&mut ring, 1, 110, 1005);
    assert_eq!(classes(last(&ring)), [0, 15, 0, 0, 0, 0]);
    both(&mut ring, 2, 2, 1006);
    assert!(last(&ring).is_reset);
    assert_eq!(classes(last(&ring)), [0, 3, 0, 0, 0, 0]);
    assert_eq!(ring.services[0].latest.classes, [0, 1008, 0, 0, 0, 0]);

    let one = read(Some("one"), api(&ring, &[("/a", &[(200, 5)], 5)]));
    let two = Read {
        name: Some("two".into()),
        ..unread()
    };
    ring.observe(at(3), vec![one, two]);
    assert!(last(&ring).is_partial && !last(&ring).is_gap);
    assert_eq!(classes(last(&ring)), [0, 3, 0, 0, 0, 0]);
    both(&mut ring, 4, 5, 1010);
    assert_eq!(classes(last(&ring)), [0, 4, 0, 0, 0, 0]);
}

#[test]
fn envoys_with_other_bounds_are_added_up_in_those_that_all_have() {
    let mut ring = ring();
    let reads = |ring: &Ring, count: u64| {
        let one = api(ring, &[("/a", &[(200, count)], count)]);
        let mut two = api(ring, &[("/a", &[(200, count)], count)]);
        let service = two.services.get_mut("api").unwrap();
        service.bounds = [1_000_000, 5_000_000, 100_000_000].into();
        let bins = vec![count / 2, count - count / 2, 0, 0];
        service.sum.bins.clone_from(&bins);
        for route in service.routes.values_mut() {
            route.counts.bins.clone_from(&bins);
        }
        vec![read(Some("one"), one), read(Some("two"), two)]
    };
    let first = reads(&ring, 0);
    ring.observe(at(0), first);
    let second = reads(&ring, 10);
    ring.observe(at(1), second);
    assert_eq!(*ring.services[0].bounds, BOUNDS);
    assert_eq!(bins(last(&ring)), [20, 0, 0]);
}

#[test]
fn bins_of_other_bounds_are_forgotten_and_requests_are_not() {
    let mut ring = ring();
    see(&mut ring, 0, &[("/a", &[(200, 1)], 1)]);
    see(&mut ring, 1, &[("/a", &[(200, 5)], 5)]);
    let generation = ring.generation();
    let mut changed = api(&ring, &[("/a", &[(200, 8)], 8)]);
    let service = changed.services.get_mut("api").unwrap();
    service.bounds = [5_000_000].into();
    service.sum.bins = vec![8, 0];
    for route in service.routes.values_mut() {
        route.counts.bins = vec![8, 0];
    }
    ring.observe(at(2), vec![read(None, changed)]);
    assert!(ring.generation() > generation);
    let told: Vec<_> = moments(&ring)
        .iter()
        .map(|m| (classes(m)[1], bins(m)))
        .collect();
    assert_eq!(told, [(0, vec![]), (4, vec![]), (3, vec![])]);
}

/// `MAX_ROUTES` and two more, each with so many requests.
fn many(ring: &Ring, count: impl Fn(usize) -> u64) -> Totals {
    let paths: Vec<String> = (0..MAX_ROUTES + 2).map(|n| format!("/{n:02}")).collect();
    let statuses: Vec<[(u16, u64); 1]> = (0..paths.len()).map(|n| [(200, count(n))]).collect();
    let routes: Vec<Given<'_>> = paths
        .iter()
        .zip(&statuses)
        .map(|(path, statuses)| (path.as_str(), statuses.as_slice(), 0))
        .collect();
    api(ring, &routes)
}

#[test]
fn a_route_that_becomes_busy_takes_the_row_of_an_idle_one_whose_past_goes_to_other() {
    let mut ring = ring();
    let steps: [&dyn Fn(usize) -> u64; 3] = [
        &|_| 1,
        &|n| if n < MAX_ROUTES { 3 } else { 1 },
        // Much later the last route is the only busy one.
        &|n| match n {
            n if n < MAX_ROUTES => 3,
            n if n == MAX_ROUTES => 1,
            _ => 1001,
        },
    ];
    for (number, step) in [0, 1, 40].into_iter().zip(steps) {
        let totals = many(&ring, step);
        ring.observe(at(number), vec![read(None, totals)]);
    }
    let service = &ring.services[0];
    let busy = format!("/{:02}", MAX_ROUTES + 1);
    assert_eq!(service.rows.len(), MAX_ROUTES);
    assert!(service.rows.iter().any(|row| *row.route.path == *busy));
    let second = moments(&ring)[1];
    let other = second.services[0].routes.last().unwrap();
    assert_eq!((other.row, other.classes[1]), (OTHER, 2));
    assert_eq!(classes(second)[1], 2 * MAX_ROUTES as u64);
    // What it had when it got the row is in `other`, what comes is in its row.
    assert_eq!(classes(last(&ring))[1], 1000);
    let totals = many(&ring, |n| if n > MAX_ROUTES { 1006 } else { 3 });
    ring.observe(at(41), vec![read(None, totals)]);
    let row = ring.services[0]
        .rows
        .iter()
        .position(|row| *row.route.path == *busy);
    let routes = &last(&ring).services[0].routes;
    let route = routes
        .iter()
        .find(|route| usize::from(route.row) == row.unwrap());
    assert_eq!(route.unwrap().classes[1], 5);
}

#[test]
fn a_failing_route_has_a_row_before_ten_times_as_many_that_succeed() {
    let mut ring = ring();
    let totals = many(&ring, |_| 0);
    ring.observe(at(0), vec![read(None, totals)]);
    let steady = |ring: &Ring, failed: u64| {
        let mut totals = many(ring, |n| if n < MAX_ROUTES { 100 } else { 0 });
        let key = ring.hashes().of("GET", &format!("/{MAX_ROUTES:02}"));
        let service = totals.services.get_mut("api").unwrap();
        service.routes.get_mut(&key).unwrap().counts.classes[4] = failed;
        service.sum.classes[4] = failed;
        totals
    };
    let totals = steady(&ring, 0);
    ring.observe(at(1), vec![read(None, totals)]);
    let totals = steady(&ring, 30);
    ring.observe(at(13), vec![read(None, totals)]);
    let rows = &ring.services[0].rows;
    assert!(
        rows.iter()
            .any(|row| *row.route.path == *format!("/{MAX_ROUTES:02}"))
    );
}

#[test]
fn what_is_older_than_the_window_is_gone() {
    let mut ring = ring();
    for number in 0..1000 {
        see(&mut ring, number, &[("/a", &[(200, number.into())], 0)]);
    }
    assert_eq!(moments(&ring).len(), 181);
    assert_eq!(moments(&ring)[0].at, at(819));
    assert_eq!(ring.moments_from(998).count(), 2);
    assert_eq!(ring.moments_from(5000).count(), 0);
}

/// Names, routes and bounds as many as there may be and more, all busy always.
#[test]
fn never_holds_more_bytes_than_it_says() {
    let mut ring = ring();
    let bounds: Arc<[u64]> = (1..=50).map(|n| n * 1_000_000).collect();
    let shortest = INTERVAL * 4 / 5;
    ring.most_moments = most_moments(shortest);
    let most = u32::try_from(ring.most_moments).unwrap();
    for number in 0..most + 3 {
        let count = 1 + u64::from(number);
        let mut totals = Totals::default();
        for name in 0..2 * MAX_SERVICES {
            let mut service = ServiceTotals {
                bounds: Arc::clone(&bounds),
                ..ServiceTotals::default()
            };
            for route in 0..2 * MAX_ROUTES {
                let path = format!("/{route:0width$}", width = MAX_NAME_BYTES - 4);
                let counts = Counts {
                    classes: [count; CLASSES],
                    bins: vec![count; bounds.len() + 1],
                };
                service.sum.add(&counts);
                let key = ring.hashes().of("GET", &path);
                let (method, path) = ("GET".into(), path.into());
                let route = Route { method, path };
                service.routes.insert(key, RouteTotals { route, counts });
            }
            for cache in 0..2 * MAX_CACHES {
                service.caches.insert(cache.to_string().into(), [count; 2]);
            }
            totals
                .services
                .insert(format!("service {name}").into(), service);
        }
        let at = At {
            elapsed: shortest * number,
            unix_ms: 0,
        };
        ring.observe(at, vec![read(None, totals)]);
    }
    assert_eq!(ring.services.len(), MAX_SERVICES);
    assert_eq!(ring.hidden_services, MAX_SERVICES);
    assert_eq!(ring.moments.len(), ring.most_moments);
    let held = ring.bytes();
    let said = worst_bytes(shortest, 1);
    assert!(held <= said, "{held} of {said}");
    assert!(
        held > said * 3 / 4,
        "{held} is far from {said}: what is said is no help"
    );
    assert!(said <= crate::live::MOST_BYTES, "{said}");
}

proptest! {
    /// Whatever comes in whatever order: the moments add up to the difference
    /// of the totals, service and bins alike.
    #[test]
    fn moments_add_up_to_the_difference_of_the_totals(
        steps in proptest::collection::vec(
            (proptest::collection::vec(0_u64..50, 30), proptest::bool::weighted(0.1)),
            2..40,
        ),
    ) {
        let mut ring = ring();
        let mut totals = vec![0_u64; 30];
        let mut first = None;
        let mut read_last = 0;
        for (number, (rises, fails)) in (0..).zip(&steps) {
            for (total, rise) in totals.iter_mut().zip(rises) {
                // Some routes come late.
                *total += if *rise < 20 { 0 } else { *rise };
            }
            if *fails {
                ring.observe(at(number), vec![unread()]);
                continue;
            }
            let paths: Vec<String> = (0..totals.len()).map(|n| format!("/{n}")).collect();
            let statuses: Vec<_> = totals.iter().map(|t| [(200, *t)]).collect();
            let routes: Vec<Given<'_>> = paths.iter().zip(&statuses).zip(&totals)
                .filter(|(_, total)| **total > 0)
                .map(|((path, statuses), total)| (path.as_str(), statuses.as_slice(), total / 2))
                .collect();
            see(&mut ring, number, &routes);
            read_last = totals.iter().sum();
            first.get_or_insert((read_last, totals.iter().map(|t| t / 2).sum::<u64>()));
        }
        if let Some((first, first_fast)) = first {
            let came: u64 = moments(&ring).iter().map(|m| classes(m)[1]).sum();
            prop_assert_eq!(came, read_last - first);
            let fast: u64 = moments(&ring).iter().filter_map(|m| bins(m).first().copied()).sum();
            let all: u64 = moments(&ring).iter().flat_map(|m| bins(m)).sum();
            prop_assert_eq!(all, came);
            let latest = &ring.services.first().map(|s| s.latest.classes[1]);
            prop_assert!(fast <= read_last / 2 - first_fast.min(read_last / 2) + 30);
            prop_assert!(latest.is_none_or(|latest| latest >= came));
        }
    }
}
