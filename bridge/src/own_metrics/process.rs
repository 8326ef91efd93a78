//! What the system says of this process, under the names that every official
//! client uses. Where the system does not say it there is no series: `/proc` is
//! Linux's.

use gatemeter_core::catalog;

use super::gauge;
use crate::families::{Family, Number};

/// The families of the catalogue whose names begin so.
const PREFIX: &str = "process_";

/// One family for each row of the catalogue, in its order.
pub(super) fn families() -> Vec<Family> {
    let said = said();
    let rows = catalog::CATALOG
        .iter()
        .filter(|row| row.name.starts_with(PREFIX));
    let of = |row: &'static catalog::Metric| {
        let number = said.iter().find(|(name, _)| *name == row.name);
        gauge(row.name, number.map(|(_, number)| *number))
    };
    rows.map(of).collect()
}

#[cfg(not(target_os = "linux"))]
fn said() -> Vec<(&'static str, Number)> {
    Vec::new()
}

/// When the system started, since 1970. Read once: it never changes, and the file
/// that says it lists every interrupt of the machine.
#[cfg(target_os = "linux")]
static BOOT_SECONDS: std::sync::LazyLock<Option<u64>> =
    std::sync::LazyLock::new(|| procfs::boot_time_secs().ok());

#[cfg(target_os = "linux")]
fn said() -> Vec<(&'static str, Number)> {
    use procfs::process::{LimitValue, Process};

    let Ok(process) = Process::myself() else {
        return Vec::new();
    };
    let whole = |number: u64| Number::Whole(number.into());
    let mut said = Vec::new();
    if let Ok(stat) = process.stat() {
        // Ticks of the scheduler's clock; exact up to 2^53 of them.
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        let used = seconds(stat.utime + stat.stime);
        said.push(("process_cpu_seconds_total", Number::Real(used)));
        if let Some(boot) = *BOOT_SECONDS {
            let start = boot as f64 + seconds(stat.starttime);
            said.push(("process_start_time_seconds", Number::Real(start)));
        }
        said.push(("process_virtual_memory_bytes", whole(stat.vsize)));
        let resident = stat.rss.saturating_mul(procfs::page_size());
        said.push(("process_resident_memory_bytes", whole(resident)));
        if let Ok(threads) = stat.num_threads.try_into() {
            said.push(("process_threads", whole(threads)));
        }
    }
    if let Ok(open) = process.fd_count()
        && let Ok(open) = open.try_into()
    {
        said.push(("process_open_fds", whole(open)));
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        said.push(("process_max_fds", whole(most)));
    }
    said
}
