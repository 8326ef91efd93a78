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

/// A function that does nothing but answer.
struct Fixed {
    name: &'static str,
    /// `i` is 32 bits, `I` 64.
    parameters: &'static str,
    /// How many of the first parameters must be standard output or error, else
    /// the answer is `BADF`.
    outputs: usize,
    /// Where zeros go: the parameter with the address, and how many bytes.
    zeros: &'static [(usize, usize)],
    errno: u32,
}

/// A function that answers `errno` whatever is asked.
const fn always(name: &'static str, parameters: &'static str, errno: u32) -> Fixed {
    Fixed {
        name,
        parameters,
        outputs: 0,
        zeros: &[],
        errno,
    }
}

/// A function that does nothing to standard output and error, with success.
const fn output(name: &'static str, parameters: &'static str) -> Fixed {
    Fixed {
        outputs: 1,
        ..always(name, parameters, errno::SUCCESS)
    }
}

/// A function that answers `errno` and writes zeros.
const fn zeros(
    name: &'static str,
    parameters: &'static str,
    zeros: &'static [(usize, usize)],
    errno: u32,
) -> Fixed {
    Fixed {
        zeros,
        ..always(name, parameters, errno)
    }
}

/// The parameters of `path_link` and `path_symlink` are those of Envoy: it
/// leaves the size of the second path out, so that a module which has it does
/// not load there.
const FIXED: &[Fixed] = &[
    always("args_get", "ii", errno::SUCCESS),
    always("fd_advise", "iIIi", errno::SUCCESS),
    output("fd_allocate", "iII"),
    always("fd_close", "i", errno::SUCCESS),
    output("fd_datasync", "i"),
    always("fd_fdstat_set_flags", "ii", errno::NOSYS),
    output("fd_fdstat_set_rights", "iII"),
    always("fd_filestat_get", "ii", errno::BADF),
    output("fd_filestat_set_size", "iI"),
    output("fd_filestat_set_times", "iIIi"),
    always("fd_pread", "iiiIi", errno::NOSYS),
    always("fd_prestat_dir_name", "iii", errno::NOSYS),
    always("fd_prestat_get", "ii", errno::BADF),
    always("fd_read", "iiii", errno::NOSYS),
    zeros("fd_readdir", "iiiIi", &[(4, 4)], errno::NOTDIR),
    Fixed {
        outputs: 2,
        ..always("fd_renumber", "ii", errno::NOTSUP)
    },
    always("fd_seek", "iIii", errno::SUCCESS),
    output("fd_sync", "i"),
    Fixed {
        zeros: &[(1, 8)],
        ..output("fd_tell", "ii")
    },
    always("path_create_directory", "iii", errno::NOTSUP),
    always("path_filestat_get", "iiiii", errno::NOTSUP),
    always("path_filestat_set_times", "iiiiIIi", errno::NOTSUP),
    always("path_link", "iiiiii", errno::NOTSUP),
    always("path_open", "iiiiiIIii", errno::NOENT),
    zeros("path_readlink", "iiiiii", &[(5, 4)], errno::NOTSUP),
    always("path_remove_directory", "iii", errno::NOTSUP),
    always("path_rename", "iiiiii", errno::NOTSUP),
    always("path_symlink", "iiii", errno::NOTSUP),
    always("path_unlink_file", "iii", errno::NOTSUP),
    always("sched_yield", "", errno::SUCCESS),
    zeros("sock_accept", "iii", &[(2, 8)], errno::NOTSUP),
    zeros("sock_recv", "iiiiii", &[(4, 4), (5, 2)], errno::NOTSUP),
    zeros("sock_send", "iiiii", &[(4, 4)], errno::NOTSUP),
    always("sock_shutdown", "ii", errno::NOTSUP),
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
    link_fixed(linker)?;
    link_clocks(linker)?;
    link_environment(linker)?;
    link_output(linker)
}

fn link_fixed<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    for module in MODULES {
        for fixed in FIXED {
            let parameters = fixed.parameters.chars().map(|kind| match kind {
                'I' => ValType::I64,
                _ => ValType::I32,
            });
            let signature = FuncType::new(linker.engine(), parameters, [ValType::I32]);
            linker.func_new(
                module,
                fixed.name,
                signature,
                move |mut caller, arguments, results| {
                    let errno = answer(&mut caller, fixed.name, |guest| {
                        answer_fixed(guest, fixed, arguments)
                    })?;
                    results[0] = Val::I32(errno.cast_signed());
                    Ok(())
                },
            )?;
        }
    }
    Ok(())
}

fn answer_fixed<T: Host + 'static>(
    guest: &mut Guest<'_, '_, T>,
    fixed: &Fixed,
    arguments: &[Val],
) -> Result<u32, Fault> {
    let argument = |index: usize| arguments.get(index).and_then(Val::i32).unwrap_or_default();
    if (0..fixed.outputs).any(|index| ![1, 2].contains(&argument(index))) {
        return Ok(errno::BADF);
    }
    for &(index, size) in fixed.zeros {
        guest.write(argument(index).cast_unsigned(), &vec![0; size])?;
    }
    Ok(fixed.errno)
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
        if size == 0 {
            return Ok(errno::SUCCESS);
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
        write_out(guest, fd, vectors, count, written_at)
    });
    call!(
        linker,
        "fd_pwrite",
        (fd: u32, vectors: u32, count: u32, _offset: u64, written_at: u32),
        |guest| { write_out(guest, fd, vectors, count, written_at) }
    );
    call!(linker, "fd_fdstat_get", (fd: u32, stat_at: u32), |guest| {
        if fd != 1 && fd != 2 {
            return Ok(errno::BADF);
        }
        // Zero but for the right to write.
        let mut stat = [0; 24];
        stat[8] = 64;
        // Envoy does not look whether there was room for it.
        let _ = guest.write(stat_at, &stat);
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

/// Logs the text in `count` vectors, without a last newline: at level info for
/// standard output, at level error for standard error.
fn write_out<T: Host + 'static>(
    guest: &mut Guest<'_, '_, T>,
    fd: u32,
    vectors: u32,
    count: u32,
    written_at: u32,
) -> Result<u32, Fault> {
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
            vector[range]
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
        };
        if number(4..8) > 0 {
            text.extend(guest.read(number(0..4), number(4..8))?);
        }
    }
    let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
    if !text.is_empty() {
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        guest.host().log(level, line);
    }
    guest.write_u32(written_at, size)?;
    Ok(errno::SUCCESS)
}
