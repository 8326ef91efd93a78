//! Hosts that answer OK and hand over something else than they should: null
//! pointers, wrong sizes, addresses outside the memory, maps that contradict
//! themselves, numbers that cannot be.

use gatemeter_host_tests::Lie;

use crate::recorded::{self, builder, call_sites, imports, marks, run};

/// Lies about where something is and how long.
fn about_places() -> Vec<Lie> {
    let mut lies = vec![
        Lie::Nothing,
        Lie::Again,
        Lie::Address(0),
        Lie::Address(1),
        Lie::Address(1024),
        Lie::Address(0x7fff_ffff),
        Lie::Address(u32::MAX),
        Lie::Address(u32::MAX - 3),
        Lie::Offset(1),
        Lie::Offset(3),
        Lie::Allocation(0),
        Lie::Allocation(1),
        Lie::Allocation(7),
        Lie::Allocation(1024 * 1024),
        Lie::Allocation(u32::MAX / 2),
        Lie::Allocation(u32::MAX),
        Lie::Place {
            address: 0,
            size: 0,
        },
        Lie::Place {
            address: 0,
            size: u32::MAX,
        },
        Lie::Place {
            address: 1,
            size: u32::MAX,
        },
        Lie::Place {
            address: u32::MAX,
            size: u32::MAX,
        },
        Lie::Place {
            address: 0x1_0000,
            size: 16,
        },
    ];
    lies.extend([0, 1, 3, 4, 7, 8, 9, 0x7fff_ffff, u32::MAX].map(Lie::Size));
    lies.extend([1, 4, 64, 0x1_0000, 0x1000_0000].map(Lie::Larger));
    lies
}

/// Lies about content, which fit any kind of it: bytes that are too few, too
/// many, or others.
fn about_content() -> Vec<Lie> {
    let mut lies: Vec<Lie> = [0, 1, 7, 8, 9, 1024 * 1024]
        .map(|size| Lie::content(move |bytes| bytes.resize(size, b'x')))
        .into();
    lies.extend(
        [1, 2, 3, 4, 5, 8, 12, 13, 40].map(|size| {
            Lie::content(move |bytes| bytes.truncate(bytes.len().saturating_sub(size)))
        }),
    );
    lies.push(Lie::content(|bytes| bytes.push(0)));
    lies.push(Lie::content(|bytes| bytes.fill(0)));
    lies.push(Lie::content(|bytes| bytes.fill(0xff)));
    lies.push(Lie::content(|bytes| bytes.reverse()));
    lies
}

/// Lies about a serialized map: its count, its lengths and its zero bytes.
fn about_maps() -> Vec<Lie> {
    let number_at = |at: usize, number: u32| {
        Lie::content(move |bytes| {
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&number.to_le_bytes());
            }
        })
    };
    let mut lies = Vec::new();
    for at in [0, 4, 8, 12, 16] {
        lies.extend(
            [
                0,
                1,
                2,
                3,
                100,
                0x1000_0000,
                0x1fff_ffff,
                0x2000_0000,
                0x7fff_ffff,
                u32::MAX,
            ]
            .map(|number| number_at(at, number)),
        );
    }
    lies.push(Lie::content(without_zeros));
    lies.push(Lie::content(|bytes| {
        let count = count(bytes).saturating_mul(2).to_le_bytes();
        bytes.splice(0..bytes.len().min(4), count);
    }));
    lies
}

fn count(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |count| u32::from_le_bytes(*count))
}

/// Takes the zero bytes after names and values out.
fn without_zeros(bytes: &mut Vec<u8>) {
    let texts = usize::try_from(count(bytes))
        .unwrap_or_default()
        .saturating_mul(8)
        + 4;
    let texts = bytes.split_off(texts.min(bytes.len()));
    bytes.extend(texts.into_iter().filter(|byte| *byte != 0));
}

/// Numbers that a call returns by itself: ids, versions, times.
fn about_numbers() -> Vec<Lie> {
    [
        0,
        1,
        2,
        7,
        u64::from(u32::MAX),
        i64::MAX.unsigned_abs(),
        1 << 63,
        u64::MAX,
    ]
    .map(Lie::Number)
    .into()
}

/// Lets each call of `call` tell each of `lies`, one in a run, and asserts that
/// each exchange counts once all the same.
#[track_caller]
fn lie_everywhere(call: &str, lies: &[Lie]) {
    let mut wrong = Vec::new();
    let mut runs = 0;
    let marks = marks(call);
    assert!(marks.calls > 0, "{call} is never called");
    for skip in 0..marks.calls {
        for lie in marks.of_call(skip, lies) {
            runs += 1;
            let lied = run(builder().lie_once(call, lie.clone(), skip), |_| {});
            let found = match lied {
                Ok(run) => run.problems(),
                Err(refused) => recorded::trap(&refused).into_iter().collect(),
            };
            let first_line = |problem: String| problem.lines().next().map(str::to_owned);
            wrong.extend(
                found
                    .into_iter()
                    .filter_map(first_line)
                    .map(|problem| format!("call {skip} of {call} lies {lie:?}: {problem}")),
            );
        }
    }
    recorded::assert_none(&wrong, runs);
}

#[test]
fn lies_about_header_maps_cost_no_count() {
    let lies = [about_places(), about_content(), about_maps()].concat();
    lie_everywhere("proxy_get_header_map_pairs", &lies);
}

#[test]
fn lies_about_properties_cost_no_count() {
    let lies = [about_places(), about_content()].concat();
    lie_everywhere("proxy_get_property", &lies);
}

#[test]
fn lies_about_shared_data_cost_no_count() {
    let lies = [about_places(), about_content(), about_numbers()].concat();
    lie_everywhere("proxy_get_shared_data", &lies);
}

#[test]
fn lies_about_the_configuration_refuse_it_or_cost_no_count() {
    let lies = [about_places(), about_content()].concat();
    lie_everywhere("proxy_get_buffer_bytes", &lies);
}

#[test]
fn lies_about_the_time_cost_no_count() {
    lie_everywhere("clock_time_get", &about_numbers());
}

#[test]
fn a_metric_id_that_is_none_is_a_failure_of_the_host_and_no_trap() {
    for number in [0, 1, 2, 3, 7, u64::MAX] {
        for skip in 0..call_sites("proxy_define_metric") {
            let lie = Lie::Number(number);
            let lied = run(builder().lie_once("proxy_define_metric", lie, skip), |_| {});
            match lied {
                // Where the id is another metric's, that one gets the count.
                Ok(run) => assert_eq!(run.envoy.traps(), [], "call {skip} lies {number}"),
                Err(refused) => assert_eq!(recorded::trap(&refused), None),
            }
        }
    }
}

#[test]
fn each_import_that_hands_something_over_is_lied_about() {
    let lied_about = [
        "clock_time_get",
        "proxy_define_metric",
        "proxy_get_buffer_bytes",
        "proxy_get_header_map_pairs",
        "proxy_get_property",
        "proxy_get_shared_data",
    ];
    let hands_over = |call: &String| {
        call.starts_with("proxy_get_")
            || call.starts_with("proxy_define_")
            || call == "clock_time_get"
    };
    let imported: Vec<String> = imports().into_iter().filter(hands_over).collect();
    let mut imported: Vec<&str> = imported.iter().map(String::as_str).collect();
    imported.sort_unstable();
    assert_eq!(imported, lied_about);
}
