//! The functions that a module imports from `env` (Proxy-Wasm 0.2.1): pointers
//! become values, the answer of the [`Host`] becomes a status, and what it
//! returns is copied into the module. Order and kind of the checks are those of
//! Envoy, so that a bad pointer gets the status it gets there.

use std::time::Duration;

use wasmtime::{Caller, Linker};

use super::host::{Host, LocalResponse};
use super::pairs;
use super::{BufferType, LogLevel, MapType, MetricType, Status, StreamType, Version};
use crate::memory::{Fault, Guest};

/// Runs one import: asks the host for admission, then `body`.
fn answer<T: Host + 'static>(
    caller: &mut Caller<'_, T>,
    call: &'static str,
    body: impl FnOnce(&mut Guest<'_, '_, T>) -> Result<(), Fault>,
) -> wasmtime::Result<u32> {
    if let Some(status) = caller.data_mut().admit(call)? {
        return Ok(status.0);
    }
    match body(&mut Guest::new(caller)) {
        Ok(()) => Ok(Status::OK.0),
        Err(Fault::Status(status)) => Ok(status.0),
        Err(Fault::Trap(trap)) => Err(trap),
    }
}

/// One `env` import: `call!(linker, "name", (parameters), |guest| body)`.
macro_rules! call {
    ($linker:ident, $name:literal, ($($arg:ident: $ty:ty),*), |$guest:ident| $body:block) => {
        $linker.func_wrap(
            "env",
            $name,
            |mut caller: Caller<'_, T>, $($arg: $ty),*| -> wasmtime::Result<u32> {
                answer(&mut caller, $name, |$guest: &mut Guest<'_, '_, T>| {
                    $body
                    Ok(())
                })
            },
        )?;
    };
}

/// Defines in `linker` what a module of this `version` may import from `env`.
///
/// # Errors
///
/// If the linker has one of the names already.
pub fn link<T: Host + 'static>(linker: &mut Linker<T>, version: Version) -> wasmtime::Result<()> {
    if version >= Version::V0_2_1 {
        link_log_level(linker)?;
    }
    link_plugin(linker)?;
    link_streams(linker)?;
    link_maps(linker)?;
    link_shared(linker)?;
    link_metrics(linker)?;
    link_calls(linker)?;
    link_emscripten(linker)
}

/// What ABI 0.2.1 added.
fn link_log_level<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    call!(linker, "proxy_get_log_level", (level_at: u32), |guest| {
        let level = guest.host().log_level() as u32;
        guest.write_u32(level_at, level)?;
    });
    Ok(())
}

fn link_plugin<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    call!(linker, "proxy_log", (level: u32, message: u32, size: u32), |guest| {
        let level = LogLevel::try_from(level)?;
        let message = guest.read(message, size)?;
        guest.host().log(level, &message);
    });
    call!(linker, "proxy_get_current_time_nanoseconds", (time_at: u32), |guest| {
        let now = guest.host().wall_clock_nanoseconds();
        guest.write_u64(time_at, now)?;
    });
    call!(linker, "proxy_set_tick_period_milliseconds", (period: u32), |guest| {
        guest.host().set_tick_period(Duration::from_millis(u64::from(period)));
    });
    call!(linker, "proxy_set_effective_context", (context: u32), |guest| {
        guest.host().set_effective_context(context)?;
    });
    call!(linker, "proxy_done", (), |guest| {
        guest.host().done()?;
    });
    call!(linker, "proxy_get_status", (code_at: u32, text_at: u32, size_at: u32), |guest| {
        let (code, text) = guest.host().status();
        guest.write_u32(code_at, code)?;
        guest.hand_over(&text, text_at, size_at)?;
    });
    call!(
        linker,
        "proxy_get_property",
        (path: u32, path_size: u32, value_at: u32, size_at: u32),
        |guest| {
            let path = guest.read(path, path_size)?;
            let value = guest.host().property(&path)?;
            guest.hand_over(&value, value_at, size_at)?;
        }
    );
    call!(
        linker,
        "proxy_set_property",
        (path: u32, path_size: u32, value: u32, value_size: u32),
        |guest| {
            let path = guest.read(path, path_size)?;
            let value = guest.read(value, value_size)?;
            guest.host().set_property(&path, &value)?;
        }
    );
    Ok(())
}

fn link_streams<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    call!(linker, "proxy_continue_stream", (stream: u32), |guest| {
        let stream = StreamType::try_from(stream)?;
        guest.host().continue_stream(stream)?;
    });
    call!(linker, "proxy_close_stream", (stream: u32), |guest| {
        let stream = StreamType::try_from(stream)?;
        guest.host().close_stream(stream)?;
    });
    call!(
        linker,
        "proxy_send_local_response",
        (
            status: u32, details: u32, details_size: u32, body: u32, body_size: u32,
            headers: u32, headers_size: u32, grpc_status: i32
        ),
        |guest| {
            let details = guest.read(details, details_size)?;
            let body = guest.read(body, body_size)?;
            let headers = guest.read(headers, headers_size)?;
            guest.host().send_local_response(LocalResponse {
                status,
                details,
                body,
                // Envoy takes a map that it cannot read for an empty one.
                headers: pairs::deserialize(&headers).unwrap_or_default(),
                grpc_status,
            });
        }
    );
    call!(
        linker,
        "proxy_get_buffer_bytes",
        (kind: u32, start: u32, length: u32, data_at: u32, size_at: u32),
        |guest| {
            let kind = BufferType::try_from(kind)?;
            let buffer = guest.host().buffer(kind)?;
            let end = start.checked_add(length).ok_or(Status::BAD_ARGUMENT)?;
            let last = buffer.len();
            let start = usize::try_from(start).unwrap_or(last).min(last);
            let end = usize::try_from(end).unwrap_or(last).clamp(start, last);
            guest.hand_over(&buffer[start..end], data_at, size_at)?;
        }
    );
    call!(
        linker,
        "proxy_get_buffer_status",
        (kind: u32, length_at: u32, flags_at: u32),
        |guest| {
            let kind = BufferType::try_from(kind)?;
            let length = guest.host().buffer(kind)?.len();
            guest.write_u32(length_at, u32::try_from(length).unwrap_or(u32::MAX))?;
            guest.write_u32(flags_at, 0)?;
        }
    );
    call!(
        linker,
        "proxy_set_buffer_bytes",
        (kind: u32, start: u32, length: u32, data: u32, size: u32),
        |guest| {
            let kind = BufferType::try_from(kind)?;
            guest.host().buffer(kind)?;
            let data = guest.read(data, size)?;
            let start = usize::try_from(start).map_err(|_| Status::BAD_ARGUMENT)?;
            let length = usize::try_from(length).map_err(|_| Status::BAD_ARGUMENT)?;
            guest.host().set_buffer(kind, start, length, &data)?;
        }
    );
    Ok(())
}

fn link_maps<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    call!(
        linker,
        "proxy_get_header_map_pairs",
        (map: u32, pairs_at: u32, size_at: u32),
        |guest| {
            let map = MapType::try_from(map)?;
            let headers = guest.host().map(map)?;
            let bytes = match headers.as_ref() {
                [] => Vec::new(),
                headers => pairs::serialize(headers),
            };
            guest.hand_over(&bytes, pairs_at, size_at)?;
        }
    );
    call!(linker, "proxy_set_header_map_pairs", (map: u32, data: u32, size: u32), |guest| {
        let map = MapType::try_from(map)?;
        let data = guest.read(data, size)?;
        let headers = pairs::deserialize(&data).unwrap_or_default();
        guest.host().set_map(map, headers)?;
    });
    call!(linker, "proxy_get_header_map_size", (map: u32, size_at: u32), |guest| {
        let map = MapType::try_from(map)?;
        let size = guest.host().map_size(map)?;
        guest.write_u32(size_at, size)?;
    });
    call!(
        linker,
        "proxy_get_header_map_value",
        (map: u32, name: u32, name_size: u32, value_at: u32, size_at: u32),
        |guest| {
            let map = MapType::try_from(map)?;
            let name = guest.read(name, name_size)?;
            let value = guest.host().header(map, &name)?;
            guest.hand_over(&value, value_at, size_at)?;
        }
    );
    call!(
        linker,
        "proxy_add_header_map_value",
        (map: u32, name: u32, name_size: u32, value: u32, value_size: u32),
        |guest| {
            let map = MapType::try_from(map)?;
            let name = guest.read(name, name_size)?;
            let value = guest.read(value, value_size)?;
            guest.host().add_header(map, &name, &value)?;
        }
    );
    call!(
        linker,
        "proxy_replace_header_map_value",
        (map: u32, name: u32, name_size: u32, value: u32, value_size: u32),
        |guest| {
            let map = MapType::try_from(map)?;
            let name = guest.read(name, name_size)?;
            let value = guest.read(value, value_size)?;
            guest.host().replace_header(map, &name, &value)?;
        }
    );
    call!(
        linker,
        "proxy_remove_header_map_value",
        (map: u32, name: u32, name_size: u32),
        |guest| {
            let map = MapType::try_from(map)?;
            let name = guest.read(name, name_size)?;
            guest.host().remove_header(map, &name)?;
        }
    );
    Ok(())
}

fn link_shared<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    call!(
        linker,
        "proxy_get_shared_data",
        (key: u32, key_size: u32, value_at: u32, size_at: u32, cas_at: u32),
        |guest| {
            let key = guest.read(key, key_size)?;
            let (value, cas) = guest.host().shared_data(&key)?;
            guest.hand_over(&value, value_at, size_at)?;
            guest.write_u32(cas_at, cas)?;
        }
    );
    call!(
        linker,
        "proxy_set_shared_data",
        (key: u32, key_size: u32, value: u32, value_size: u32, cas: u32),
        |guest| {
            let key = guest.read(key, key_size)?;
            let value = guest.read(value, value_size)?;
            guest.host().set_shared_data(&key, &value, cas)?;
        }
    );
    call!(
        linker,
        "proxy_register_shared_queue",
        (name: u32, name_size: u32, queue_at: u32),
        |guest| {
            let name = guest.read(name, name_size)?;
            let queue = guest.host().register_queue(&name);
            guest.write_u32(queue_at, queue)?;
        }
    );
    call!(
        linker,
        "proxy_resolve_shared_queue",
        (vm_id: u32, vm_id_size: u32, name: u32, name_size: u32, queue_at: u32),
        |guest| {
            let vm_id = guest.read(vm_id, vm_id_size)?;
            let name = guest.read(name, name_size)?;
            let queue = guest.host().resolve_queue(&vm_id, &name)?;
            guest.write_u32(queue_at, queue)?;
        }
    );
    call!(
        linker,
        "proxy_dequeue_shared_queue",
        (queue: u32, value_at: u32, size_at: u32),
        |guest| {
            let value = guest.host().dequeue(queue)?;
            guest.hand_over(&value, value_at, size_at)?;
        }
    );
    call!(
        linker,
        "proxy_enqueue_shared_queue",
        (queue: u32, value: u32, value_size: u32),
        |guest| {
            let value = guest.read(value, value_size)?;
            guest.host().enqueue(queue, &value)?;
        }
    );
    Ok(())
}

fn link_metrics<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    call!(
        linker,
        "proxy_define_metric",
        (kind: u32, name: u32, name_size: u32, metric_at: u32),
        |guest| {
            let name = guest.read(name, name_size)?;
            let kind = MetricType::try_from(kind)?;
            let metric = guest.host().define_metric(kind, &name);
            guest.write_u32(metric_at, metric)?;
        }
    );
    call!(linker, "proxy_increment_metric", (metric: u32, offset: i64), |guest| {
        guest.host().increment_metric(metric, offset)?;
    });
    call!(linker, "proxy_record_metric", (metric: u32, value: u64), |guest| {
        guest.host().record_metric(metric, value)?;
    });
    call!(linker, "proxy_get_metric", (metric: u32, value_at: u32), |guest| {
        let value = guest.host().metric(metric)?;
        guest.write_u64(value_at, value)?;
    });
    Ok(())
}

/// Calls to clusters and to functions of the host. A map that Envoy cannot read
/// is an empty one to it.
fn link_calls<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    call!(
        linker,
        "proxy_http_call",
        (
            cluster: u32, cluster_size: u32, headers: u32, headers_size: u32, body: u32,
            body_size: u32, trailers: u32, trailers_size: u32, timeout: u32, token_at: u32
        ),
        |guest| {
            let cluster = guest.read(cluster, cluster_size)?;
            let headers = guest.read(headers, headers_size)?;
            let body = guest.read(body, body_size)?;
            let trailers = guest.read(trailers, trailers_size)?;
            guest.write_u32(token_at, 0)?;
            let headers = pairs::deserialize(&headers).unwrap_or_default();
            let trailers = pairs::deserialize(&trailers).unwrap_or_default();
            let token = guest
                .host()
                .http_call(&cluster, headers, body, trailers, timeout)?;
            guest.write_u32(token_at, token)?;
        }
    );
    call!(
        linker,
        "proxy_grpc_call",
        (
            service: u32, service_size: u32, name: u32, name_size: u32, method: u32,
            method_size: u32, metadata: u32, metadata_size: u32, message: u32,
            message_size: u32, timeout: u32, token_at: u32
        ),
        |guest| {
            let service = guest.read(service, service_size)?;
            let name = guest.read(name, name_size)?;
            let method = guest.read(method, method_size)?;
            let metadata = guest.read(metadata, metadata_size)?;
            let message = guest.read(message, message_size)?;
            let metadata = pairs::deserialize(&metadata).unwrap_or_default();
            let message = Some((message, timeout));
            let token = guest
                .host()
                .grpc_call(&service, &name, &method, metadata, message)?;
            guest.write_u32(token_at, token)?;
        }
    );
    call!(
        linker,
        "proxy_grpc_stream",
        (
            service: u32, service_size: u32, name: u32, name_size: u32, method: u32,
            method_size: u32, metadata: u32, metadata_size: u32, token_at: u32
        ),
        |guest| {
            let service = guest.read(service, service_size)?;
            let name = guest.read(name, name_size)?;
            let method = guest.read(method, method_size)?;
            let metadata = guest.read(metadata, metadata_size)?;
            let metadata = pairs::deserialize(&metadata).unwrap_or_default();
            let token = guest
                .host()
                .grpc_call(&service, &name, &method, metadata, None)?;
            guest.write_u32(token_at, token)?;
        }
    );
    call!(
        linker,
        "proxy_grpc_send",
        (token: u32, message: u32, message_size: u32, end_of_stream: u32),
        |guest| {
            let message = guest.read(message, message_size)?;
            guest.host().grpc_send(token, message, end_of_stream != 0)?;
        }
    );
    call!(linker, "proxy_grpc_cancel", (token: u32), |guest| {
        guest.host().grpc_cancel(token)?;
    });
    call!(linker, "proxy_grpc_close", (token: u32), |guest| {
        guest.host().grpc_close(token)?;
    });
    call!(
        linker,
        "proxy_call_foreign_function",
        (
            name: u32, name_size: u32, arguments: u32, arguments_size: u32,
            result_at: u32, size_at: u32
        ),
        |guest| {
            let name = guest.read(name, name_size)?;
            let arguments = guest.read(arguments, arguments_size)?;
            let function = guest.host().foreign_function(&name);
            let function = function.ok_or(Status::NOT_FOUND)?;
            // A function that fails leaves an empty result behind, and a module
            // that names no place for the result does not want it.
            let answer = function(&arguments);
            let result = answer.as_deref().unwrap_or_default();
            if result_at != 0 {
                let address = guest.place(result)?;
                guest.write_u32(result_at, address)?;
            }
            if size_at != 0 {
                guest.write_u32(size_at, u32::try_from(result.len()).unwrap_or(u32::MAX))?;
            }
            answer.map(drop)?;
        }
    );
    Ok(())
}

/// What modules of Emscripten import, which are no host calls to be counted or failed.
fn link_emscripten<T: Host + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "pthread_equal", |one: u32, other: u32| {
        u32::from(one == other)
    })?;
    linker.func_wrap("env", "emscripten_notify_memory_growth", |_memory: u32| {})?;
    Ok(())
}
