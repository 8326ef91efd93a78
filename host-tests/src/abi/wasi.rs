//! The functions of WASI preview 1 as Envoy answers them: clocks, randomness,
//! environment and standard output work, files and sockets do not exist.
//!
//! They are defined under both names that modules use, `wasi_snapshot_preview1`
//! and `wasi_unstable`. `proc_exit` returns, as in Envoy: what a compiler puts
//! behind it, an `unreachable`, is what stops the module.

use wasmtime::{Caller, FuncType, Linker, Val, ValType};

use super::LogLevel;
use super::host::Host;
use crate::memory::{Fault, Guest};

const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// The errors that Envoy answers, by their WASI names.
mod errno {
    pub(super) const SUCCESS: u32 = 0;
    pub(super) const BADF: u32 = 8;
    pub(super) const FAULT: u32 = 21;
    pub(super) const INVAL: u32 = 28;
    pub(super) const NOENT: u32 = 44;
    pub(super) const NOSYS: u32 = 52;
    pub(super) const NOTDIR: u32 = 20;
    pub(super) const NOTSUP: u32 = 58;
}

/// More than this Envoy does not give at once.
const RANDOM_LIMIT: u32 = 64 * 1024;

/// Functions with one answer whatever is asked: name, parameters (`i` 32 bits,
/// `I` 64 bits), error number.
const CONSTANT: &[(&str, &str, u32)] = &[
    ("args_get", "ii", errno::SUCCESS),
    ("fd_advise", "iIIi", errno::SUCCESS),
    ("fd_allocate", "iII", errno::BADF),
    ("fd_close", "i", errno::SUCCESS),
    ("fd_datasync", "i", errno::BADF),
    ("fd_fdstat_set_flags", "ii", errno::NOSYS),
    ("fd_fdstat_set_rights", "iII", errno::BADF),
    ("fd_filestat_get", "ii", errno::BADF),
    ("fd_filestat_set_size", "iI", errno::BADF),
    ("fd_filestat_set_times", "iIIi", errno::BADF),
    ("fd_pread", "iiiIi", errno::NOSYS),
    ("fd_prestat_dir_name", "iii", errno::NOSYS),
    ("fd_prestat_get", "ii", errno::BADF),
    ("fd_pwrite", "iiiIi", errno::BADF),
    ("fd_read", "iiii", errno::NOSYS),
    ("fd_readdir", "iiiIi", errno::NOTDIR),
    ("fd_renumber", "ii", errno::BADF),
    ("fd_seek", "iIii", errno::SUCCESS),
    ("fd_sync", "i", errno::BADF),
    ("fd_tell", "ii", errno::BADF),
    ("path_create_directory", "iii", errno::NOTSUP),
    ("path_filestat_get", "iiiii", errno::NOTSUP),
    ("path_filestat_set_times", "iiiiIIi", errno::NOTSUP),
    ("path_link", "iiiiiii", errno::NOTSUP),
    ("path_open", "iiiiiIIii", errno::NOENT),
    ("path_readlink", "iiiiii", errno::NOTSUP),
    ("path_remove_directory", "iii", errno::NOTSUP),
    ("path_rename", "iiiiii", errno::NOTSUP),
    ("path_symlink", "iiiii", errno::NOTSUP),
    ("path_unlink_file", "iii", errno::NOTSUP),
    ("sched_yield", "", errno::SUCCESS),
    ("sock_accept", "iii", errno::NOTSUP),
    ("sock_recv", "iiiiii", errno::NOTSUP),
    ("sock_send", "iiiii", errno::NOTSUP),
    ("sock_shutdown", "ii", errno::NOTSUP),
];

fn answer<T: Host + 'static>(
    caller: &mut Caller<'_, T>,
    call: &'static str,
    body: impl FnOnce(&mut Guest<'_, '_, T>) -> Result<u32, Fault>,
) -> wasmtime::Result<u32> {
    if let Some(status) = caller.data_mut().admit(call)? {
        return Ok(status.0);
    }
    match body(&mut Guest::new(caller)) {
        Ok(errno) => Ok(errno),
        Err(Fault::Status(_)) => Ok(errno::FAULT),
        Err(Fault::Trap(trap)) => Err(trap),
    }
}

macro_rules! call {
    ($linker:ident, $name:literal, ($($arg:ident: $ty:ty),*), |$guest:ident| $body:block) => {
        for module in MODULES {
            $linker.func_wrap(
                module,
                $name,
                |mut caller: Caller<'_, T>, $($arg: $ty),*| -> wasmtime::Result<u32> {
                    answer(&mut caller, $name, |$guest: &mut Guest<'_, '_, T>| $body)
                },
            )?;
        }
    };
}

/// Defines the functions of WASI in `linker`.
///
/// # Errors
///
/// If the linker has one of the names already.
pub fn link<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    link_constant(linker)?;
    link_clocks(linker)?;
    link_environment(linker)?;
    link_output(linker)
}

fn link_constant<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    for module in MODULES {
        for &(name, parameters, errno) in CONSTANT {
            let parameters = parameters.chars().map(|kind| match kind {
                'I' => ValType::I64,
                _ => ValType::I32,
            });
            let signature = FuncType::new(linker.engine(), parameters, [ValType::I32]);
            linker.func_new(module, name, signature, move |mut caller, _, results| {
                let number = answer(&mut caller, name, |_| Ok(errno))?;
                results[0] = Val::I32(number.cast_signed());
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn link_clocks<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    call!(linker, "clock_time_get", (clock: u32, _precision: u64, time_at: u32), |guest| {
        let now = match clock {
            0 => guest.host().wall_clock_nanoseconds(),
            1 => guest.host().monotonic_nanoseconds(),
            _ => return Ok(errno::NOTSUP),
        };
        guest.write_u64(time_at, now)?;
        Ok(errno::SUCCESS)
    });
    call!(linker, "clock_res_get", (clock: u32, resolution_at: u32), |guest| {
        if clock > 1 {
            return Ok(errno::NOTSUP);
        }
        guest.write_u64(resolution_at, 1)?;
        Ok(errno::SUCCESS)
    });
    call!(linker, "poll_oneoff", (_in: u32, _out: u32, _count: u32, events_at: u32), |guest| {
        guest.write_u32(events_at, 0)?;
        Ok(errno::SUCCESS)
    });
    call!(linker, "random_get", (buffer: u32, size: u32), |guest| {
        if size > RANDOM_LIMIT {
            return Ok(errno::INVAL);
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        guest.host().fill_random(&mut bytes);
        guest.write(buffer, &bytes)?;
        Ok(errno::SUCCESS)
    });
    Ok(())
}

fn link_environment<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    fn lines<T: Host>(host: &T) -> Vec<Vec<u8>> {
        host.environment()
            .into_iter()
            .map(|(key, value)| format!("{key}={value}\0").into_bytes())
            .collect()
    }
    call!(linker, "args_sizes_get", (count_at: u32, size_at: u32), |guest| {
        guest.write_u32(count_at, 0)?;
        guest.write_u32(size_at, 0)?;
        Ok(errno::SUCCESS)
    });
    call!(linker, "environ_sizes_get", (count_at: u32, size_at: u32), |guest| {
        let lines = lines(guest.host());
        let size: usize = lines.iter().map(Vec::len).sum();
        guest.write_u32(count_at, u32::try_from(lines.len()).unwrap_or(u32::MAX))?;
        guest.write_u32(size_at, u32::try_from(size).unwrap_or(u32::MAX))?;
        Ok(errno::SUCCESS)
    });
    call!(linker, "environ_get", (pointers_at: u32, text_at: u32), |guest| {
        let (mut pointers_at, mut text_at) = (pointers_at, text_at);
        for line in lines(guest.host()) {
            guest.write_u32(pointers_at, text_at)?;
            guest.write(text_at, &line)?;
            pointers_at = pointers_at.wrapping_add(4);
            text_at = text_at.wrapping_add(u32::try_from(line.len()).unwrap_or(u32::MAX));
        }
        Ok(errno::SUCCESS)
    });
    Ok(())
}

fn link_output<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    call!(linker, "fd_write", (fd: u32, vectors: u32, count: u32, written_at: u32), |guest| {
        let level = match fd {
            1 => LogLevel::Info,
            2 => LogLevel::Error,
            _ => return Ok(errno::BADF),
        };
        let mut text = Vec::new();
        for index in 0..count {
            let at = vectors.wrapping_add(index.wrapping_mul(8));
            let vector = guest.read(at, 8)?;
            let number = |range: std::ops::Range<usize>| {
                vector[range].iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
            };
            text.extend(guest.read(number(0..4), number(4..8))?);
        }
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        if !text.is_empty() {
            guest.host().log(level, text.strip_suffix(b"\n").unwrap_or(&text));
        }
        guest.write_u32(written_at, size)?;
        Ok(errno::SUCCESS)
    });
    call!(linker, "fd_fdstat_get", (fd: u32, stat_at: u32), |guest| {
        if fd != 1 && fd != 2 {
            return Ok(errno::BADF);
        }
        // Zero but for the right to write.
        let mut stat = [0; 24];
        stat[8] = 64;
        guest.write(stat_at, &stat)?;
        Ok(errno::SUCCESS)
    });
    for module in MODULES {
        linker.func_wrap(
            module,
            "proc_exit",
            |mut caller: Caller<'_, T>, code: u32| {
                let message = format!("proc_exit({code})");
                if caller.data_mut().admit("proc_exit")?.is_none() {
                    caller.data_mut().log(LogLevel::Error, message.as_bytes());
                }
                wasmtime::Result::<()>::Ok(())
            },
        )?;
    }
    Ok(())
}
