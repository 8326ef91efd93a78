//! What a request may cost the module, in each way it is used: `budget.json`
//! holds it, and so does the table in `docs/benchmarks.md`. What is counted must
//! be as recorded, and fuel and bytes may not grow; where they fall, the new
//! figure is to be recorded, so that it cannot grow back. `make budget` does it.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use gatemeter_host_tests::Envoy;
use gatemeter_host_tests::host::cost::Cost;
use serde_json::{Map, Value, json};

use crate::floor::{self, Floor};
use crate::usual::{self, SIGNALS};
use crate::{envoy, envoy_with_routes};

/// How to record what was measured.
const COMMAND: &str = "make budget";

/// Set by that command: the test records and compares nothing.
const RECORD: &str = "RECORD_BUDGET";

/// A figure that falls by more than one part in so many is to be recorded.
const NOTICED: u64 = 20;

/// How many times the floor that goes over the same headers a request may cost.
const MOST_TIMES: u64 = 2;

const BEGIN: &str = "<!-- The table is written by `make budget`. -->";
const END: &str = "<!-- The end of what `make budget` writes. -->";

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The steady state: what `act` costs when all it needs is known.
#[track_caller]
fn steady(envoy: &Envoy, act: impl Fn()) -> Cost {
    for _ in 0..3 {
        act();
        envoy.tick();
    }
    envoy.measure(act)
}

/// The cost of each way to use the module, in the order of the table.
#[track_caller]
fn measure() -> Vec<(&'static str, Cost)> {
    let path = "/api/content/42";
    let routes = || envoy_with_routes(&["/api/content/:id", "/api/discovery/*"]);
    let learned = || envoy(json!({"cache": {"types": {"redis": "redis", "edge": "cdn"}}}));
    let exchange = |envoy: Envoy, signals: &'static [(&str, &str)]| {
        steady(&envoy, || usual::exchange(&envoy.worker(0), path, signals))
    };
    let log = |envoy: Envoy| steady(&envoy, || usual::logged(&envoy.worker(0), path));
    let (busy, idle) = (learned(), learned());
    let tick_of_busy = {
        for _ in 0..3 {
            usual::exchange(&busy.worker(0), path, &SIGNALS);
            busy.tick();
        }
        usual::exchange(&busy.worker(0), path, &SIGNALS);
        busy.measure(|| busy.tick())
    };
    vec![
        ("floor, takes the maps", floor::exchange(Floor::Takes)),
        (
            "floor, walks over their pairs",
            floor::exchange(Floor::Walks),
        ),
        ("filter, path from a template", exchange(routes(), &[])),
        ("filter, learned path", exchange(learned(), &[])),
        (
            "filter, learned path, three signals",
            exchange(learned(), &SIGNALS),
        ),
        (
            "floor of the access logger, takes the maps",
            floor::logged(Floor::Takes),
        ),
        (
            "floor of the access logger, walks over their pairs",
            floor::logged(Floor::Walks),
        ),
        ("access logger, path from a template", log(routes())),
        ("access logger, learned path", log(learned())),
        (
            "tick of worker and main thread after a request with signals",
            tick_of_busy,
        ),
        (
            "tick of worker and main thread, idle",
            steady(&idle, || idle.tick()),
        ),
    ]
}

/// A cost as the file has it.
fn recorded(cost: &Cost) -> Value {
    let calls: Map<String, Value> = cost
        .all_host_calls()
        .into_iter()
        .map(|(name, calls)| (name.to_owned(), calls.into()))
        .collect();
    let crossings = cost.all_crossings();
    let by_name = |value: fn(&Cost, &str) -> u64| -> Map<String, Value> {
        let crossings = crossings.iter();
        crossings
            .map(|(name, _)| ((*name).to_owned(), value(cost, name).into()))
            .collect()
    };
    let mut fuel = by_name(|cost, name| cost.crossings(name).fuel);
    fuel.insert("sum".to_owned(), cost.fuel().into());
    json!({
        "host_calls": calls,
        "crossings": by_name(|cost, name| cost.crossings(name).calls),
        "allocations": cost.allocations.calls,
        "fuel": fuel,
        "bytes_read_by_host": cost.bytes_read,
        "bytes_written_by_host": cost.bytes_written,
        "pages_grown": cost.pages,
    })
}

/// What is different, by key; nothing where all is as it may be.
fn differences(key: &str, old: &Value, new: &Value) -> Vec<String> {
    if let (Some(old), Some(new)) = (old.as_object(), new.as_object()) {
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort();
        names.dedup();
        let names = names.into_iter();
        let parts = names.flat_map(|name| {
            let of = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
            differences(&format!("{key} / {name}"), &of(old), &of(new))
        });
        return parts.collect();
    }
    let exact = !key.contains("/ fuel") && !key.contains("/ bytes_");
    let problem = match (old.as_u64(), new.as_u64()) {
        (Some(old), Some(new)) if old == new => return Vec::new(),
        _ if exact => "must be as recorded",
        (Some(old), Some(new)) if new > old => "has grown",
        (Some(old), Some(new)) if (old - new) * NOTICED <= old => return Vec::new(),
        (Some(_), Some(_)) => "has fallen; record it",
        _ => "is there in one only",
    };
    vec![format!("{key} {problem}: {new}, recorded {old}")]
}

fn table(costs: &[(&str, Cost)]) -> String {
    let mut table = format!(
        "{BEGIN}\n\n| what | host calls | crossings into the module | fuel | bytes to and from the module |\n\
         |---|---|---|---|---|\n"
    );
    for (name, cost) in costs {
        let calls = cost.all_host_calls().into_iter();
        let calls: Vec<String> = calls
            .map(|(name, calls)| format!("{calls} `{name}`"))
            .collect();
        let crossings = cost.all_crossings().into_iter();
        let crossings: Vec<String> = crossings
            .map(|(name, calls)| format!("{calls} `{name}` ({})", cost.crossings(name).fuel))
            .collect();
        let _ = writeln!(
            table,
            "| {name} | {} | {} | {} | {}, {} |",
            calls.join(", "),
            crossings.join(", "),
            cost.fuel(),
            cost.bytes_written,
            cost.bytes_read,
        );
    }
    table + "\n" + END
}

#[track_caller]
fn read(path: &str) -> String {
    let path = file(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The page with `table` in place of what stands between the marks.
#[track_caller]
fn page_with(table: &str) -> String {
    let page = read("../docs/benchmarks.md");
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{table}{after}"))
    });
    parts.unwrap_or_else(|| panic!("docs/benchmarks.md lacks {BEGIN:?} or {END:?}"))
}

#[test]
fn a_request_costs_what_is_recorded_and_the_documentation_says_so() {
    let costs = measure();
    let new: Map<String, Value> = costs
        .iter()
        .map(|(name, cost)| ((*name).to_owned(), recorded(cost)))
        .collect();
    let new = Value::Object(new);
    let page = page_with(&table(&costs));
    if std::env::var_os(RECORD).is_some() {
        let text = format!("{new:#}\n");
        fs::write(file("budget.json"), text).expect("the budget can be written");
        fs::write(file("../docs/benchmarks.md"), page).expect("the page can be written");
        return;
    }
    let old: Value = serde_json::from_str(&read("budget.json")).expect("budget.json is JSON");
    let differences = differences("budget", &old, &new);
    assert!(
        differences.is_empty(),
        "run `{COMMAND}` and look at what changes:\n{}",
        differences.join("\n")
    );
    // The page shows what is recorded, which may be a little more than the present.
    let page = read("../docs/benchmarks.md");
    for (name, cost) in old.as_object().into_iter().flatten() {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| {name} |")));
        let row =
            row.unwrap_or_else(|| panic!("docs/benchmarks.md has no row {name}: `{COMMAND}`"));
        let fuel = format!("| {} |", cost["fuel"]["sum"]);
        let bytes = format!(
            "| {}, {} |",
            cost["bytes_written_by_host"], cost["bytes_read_by_host"]
        );
        for figure in [fuel, bytes] {
            assert!(
                row.contains(&figure),
                "docs/benchmarks.md: {row} lacks {figure}: `{COMMAND}`"
            );
        }
        for group in ["host_calls", "crossings"] {
            for (call, count) in cost[group].as_object().into_iter().flatten() {
                let figure = format!("{count} `{call}`");
                assert!(
                    row.contains(&figure),
                    "docs/benchmarks.md: {row} lacks {figure}"
                );
            }
        }
    }
}

#[test]
fn a_usual_request_costs_at_most_twice_what_walking_over_its_headers_costs() {
    let costs = measure();
    let fuel = |name: &str| {
        let found = costs.iter().find(|(other, _)| *other == name);
        let (_, cost) = found.unwrap_or_else(|| panic!("{name} is not measured"));
        cost.fuel()
    };
    for (floor, ours) in [
        (
            "floor, walks over their pairs",
            ["filter, path from a template", "filter, learned path"],
        ),
        (
            "floor of the access logger, walks over their pairs",
            [
                "access logger, path from a template",
                "access logger, learned path",
            ],
        ),
    ] {
        for ours in ours {
            let (least, cost) = (fuel(floor), fuel(ours));
            assert!(
                cost <= MOST_TIMES * least,
                "{ours}: {cost} units of fuel; {floor}: {least}"
            );
        }
    }
}

#[test]
fn a_figure_that_grows_falls_or_appears_is_named_with_old_and_new() {
    let old =
        json!({"filter": {"fuel": {"sum": 1000}, "host_calls": {"a": 1}, "bytes_read_by_host": 8}});
    let same = |new: &Value| differences("budget", &old, new);
    assert_eq!(same(&old), Vec::<String>::new());
    let new =
        json!({"filter": {"fuel": {"sum": 960}, "host_calls": {"a": 1}, "bytes_read_by_host": 8}});
    assert_eq!(same(&new), Vec::<String>::new(), "a fall of 4 %");
    let new =
        json!({"filter": {"fuel": {"sum": 1001}, "host_calls": {"b": 1}, "bytes_read_by_host": 7}});
    assert_eq!(
        same(&new),
        [
            "budget / filter / bytes_read_by_host has fallen; record it: 7, recorded 8",
            "budget / filter / fuel / sum has grown: 1001, recorded 1000",
            "budget / filter / host_calls / a must be as recorded: null, recorded 1",
            "budget / filter / host_calls / b must be as recorded: 1, recorded null",
        ]
    );
}
