//! Each host call that the module imports fails with each status at each call
//! site, one at a time, and several at random.

use gatemeter_host_tests::Status;
use gatemeter_host_tests::host::process::Thread;
use proptest::prelude::*;

use crate::recorded::{self, Run, builder, call_sites, imports, marks, run};

/// What a host can answer: each status of the ABI, and one it does not have.
fn statuses() -> impl Iterator<Item = Status> {
    (0..=12).chain([255]).map(Status)
}

/// Whether this is an answer like any other, not a failure: nothing is there,
/// or another worker was quicker.
fn is_answer(call: &str, status: Status) -> bool {
    match call {
        "proxy_get_buffer_bytes"
        | "proxy_get_header_map_pairs"
        | "proxy_get_property"
        | "proxy_get_shared_data" => status == Status::NOT_FOUND,
        "proxy_set_shared_data" => status == Status::CAS_MISMATCH,
        _ => false,
    }
}

/// What is wrong with a run in which one call failed.
fn problems(run: &Run, call: &str, status: Status) -> Vec<String> {
    if status == Status::OK {
        // The host said that it did what it did not do: that cannot be told
        // from success, so what it was asked to count may be lost.
        let lost = |problem: &String| {
            problem.contains(" counted of ") || problem.ends_with(" open at the end")
        };
        let mut problems = run.problems();
        problems.retain(|problem| !lost(problem));
        let counted = crate::counted(&run.envoy.stats());
        if counted > run.ended {
            problems.push(format!("{counted} counted of {} that ended", run.ended));
        }
        return problems;
    }
    let mut problems = run.problems();
    let injected = run.envoy.injected();
    let [failure] = injected.as_slice() else {
        problems.push(format!("befell {injected:?}"));
        return problems;
    };
    // A log that fails has nowhere to be reported; a copy that tries a
    // configuration out counts nothing; a refusal is reported by its line.
    let uncounted = is_answer(call, status)
        || call == "proxy_log"
        || failure.thread == Thread::Canary
        || !run.refused.is_empty();
    let reason = call.trim_start_matches("proxy_");
    let expected = if uncounted {
        vec![]
    } else {
        vec![(reason.to_owned(), 1)]
    };
    let errors = run.errors();
    // What the workers share is there once one is configured: that it is not
    // is a failure then.
    let either = call == "proxy_get_shared_data" && status == Status::NOT_FOUND;
    if errors != expected && !(either && errors == [(reason.to_owned(), 1)]) {
        problems.push(format!(
            "failures counted are {errors:?}, expected {expected:?}"
        ));
    }
    for refused in &run.refused {
        if refused.log.len() != 1 && call != "proxy_log" {
            problems.push(format!("refused with the lines {:?}", refused.log));
        }
    }
    problems
}

/// Lets each call of each of `calls` fail with each status, one in a run.
#[track_caller]
fn fail_everywhere(calls: &[String]) {
    let mut wrong = Vec::new();
    let mut runs = 0;
    let statuses: Vec<Status> = statuses().collect();
    for call in calls {
        let marks = marks(call);
        for skip in 0..marks.calls {
            for &status in marks.of_call(skip, &statuses) {
                runs += 1;
                let found = match run(builder().fail_once(call, status, skip), |_| {}) {
                    Ok(run) => problems(&run, call, status),
                    Err(refused) => recorded::trap(&refused).into_iter().collect(),
                };
                let found = found.into_iter();
                let first_line = |problem: String| problem.lines().next().map(str::to_owned);
                wrong.extend(
                    found.filter_map(first_line).map(|problem| {
                        format!("call {skip} of {call} answers {status:?}: {problem}")
                    }),
                );
            }
        }
    }
    recorded::assert_none(&wrong, runs);
}

/// The import that is called most, which is about half of the work, and the
/// others: so two tests can run at once.
#[track_caller]
fn busiest_and_others() -> (String, Vec<String>) {
    let mut calls = imports();
    calls.sort_by_cached_key(|call| call_sites(call));
    let busiest = calls.pop().expect("the module imports something");
    (busiest, calls)
}

#[test]
fn the_call_made_most_may_fail_at_each_call_site_with_each_status() {
    let (busiest, _) = busiest_and_others();
    fail_everywhere(&[busiest]);
}

#[test]
fn every_other_call_may_fail_at_each_call_site_with_each_status() {
    let (_, others) = busiest_and_others();
    fail_everywhere(&others);
}

#[test]
fn the_run_calls_every_function_of_the_abi_that_the_module_imports() {
    for call in imports() {
        // What the language's runtime imports is called only at a panic.
        let of_abi = call.starts_with("proxy_") || call == "clock_time_get";
        assert!(!of_abi || call_sites(&call) > 0, "{call}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn several_calls_may_fail_and_no_count_is_lost_once_they_work_again(
        faults in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_u64..40, (1_u32..=13), any::<bool>()),
            1..6,
        ),
    ) {
        let calls = imports();
        let mut builder = builder();
        let mut forever = Vec::new();
        for (call, skip, status, for_ever) in faults {
            let call = call.get(&calls);
            let status = Status(if status == 13 { 255 } else { status });
            if for_ever {
                forever.push((call.clone(), status));
            } else {
                builder = builder.fail_once(call, status, skip);
            }
        }
        let heal = |envoy: &gatemeter_host_tests::Envoy| {
            // Some fail in a tick over and over, then all is well again.
            for (call, status) in &forever {
                envoy.fail(call, *status);
            }
            envoy.tick();
            envoy.tick();
            envoy.heal();
        };
        match run(builder, heal) {
            Ok(run) => prop_assert_eq!(run.problems(), Vec::<String>::new()),
            Err(refused) => prop_assert_eq!(recorded::trap(&refused), None),
        }
    }
}
