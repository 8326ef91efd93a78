//! Does one kind of work so many times, under a program that counts instructions.
//!
//!     usage: gatemeter-bench-instructions [WORK ROUNDS]
//!
//! Without arguments it lists the kinds of work: the name, and what one round does
//! many of. Otherwise it says how many of those a round has. What is prepared does
//! not depend on the number of rounds, so the difference between two numbers of
//! rounds is the work alone.

mod exchange;
mod scrape;

use std::process::ExitCode;

/// A kind of work.
struct Work {
    name: &'static str,
    /// What a round has many of.
    unit: &'static str,
    /// Does so many rounds; how many units one has.
    run: fn(u32) -> usize,
}

/// In the order of the table.
const WORKS: [Work; 7] = [
    Work {
        name: "core: an exchange of the filter",
        unit: "exchange",
        run: exchange::of_filter,
    },
    Work {
        name: "core: the same with three signals",
        unit: "exchange",
        run: exchange::with_signals,
    },
    Work {
        name: "core: an entry of the access logger",
        unit: "exchange",
        run: exchange::of_logger,
    },
    Work {
        name: "bridge: decode, an answer with names not seen before",
        unit: "stat",
        run: scrape::decode_first,
    },
    Work {
        name: "bridge: decode, an answer with the names of the one before",
        unit: "stat",
        run: scrape::decode_again,
    },
    Work {
        name: "bridge: page as text 0.0.4",
        unit: "line",
        run: scrape::encode_text,
    },
    Work {
        name: "bridge: page as OpenMetrics",
        unit: "line",
        run: scrape::encode_openmetrics,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            for work in WORKS {
                println!("{}\t{}", work.name, work.unit);
            }
            ExitCode::SUCCESS
        }
        [name, rounds] => {
            let work = WORKS.iter().find(|work| work.name == name);
            let (Some(work), Ok(rounds)) = (work, rounds.parse()) else {
                eprintln!("expected a name of the list and a number");
                return ExitCode::FAILURE;
            };
            println!("{}", (work.run)(rounds));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: gatemeter-bench-instructions [WORK ROUNDS]");
            ExitCode::FAILURE
        }
    }
}
