//! The host itself, with small modules in the raw ABI: no SDK, no WASI, another
//! style than the filter of this workspace. What Envoy 1.40 answers was
//! measured on it with a probe that made each call in each callback.

// HTTP calls to clusters.
mod calls;
// What becomes of traffic when the module traps.
mod failure;
// Functions of the proxy by name.
mod foreign_functions;
// gRPC calls and streams.
mod grpc;
// All functions that a module may import.
mod imports;
// Configurations, ticks and the ends of contexts.
mod life_cycle;
// What a module may call, reach and spend.
mod limits;
// TCP connections.
mod network;
// The order of callbacks, for each kind of exchange.
mod order;
// Phases of maps and attributes.
mod phases;
// Several plugins in one virtual machine.
mod plugins;
// Queues and who is told of them.
mod queues;
// A metrics filter without an SDK.
mod raw_filter;
// What virtual machines share.
mod shared;
// The two versions of the ABI, and what a module must export.
mod versions;
// Clocks, output, randomness and environment.
mod wasi;

/// The imports of the modules that the tests write.
const IMPORTS: &str = r#"
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_value"
        (func $value (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
    (import "env" "proxy_set_effective_context" (func $speak_for (param i32) (result i32)))
    (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
    (import "env" "proxy_done" (func $done (result i32)))
    (import "env" "proxy_send_local_response"
        (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
"#;

/// A module with the usual imports, one page of memory, an allocator that never
/// gives memory back, and `rest`.
fn module(rest: &str) -> gatemeter_host_tests::Module {
    module_with("", rest)
}

/// As [`module`], with more imports.
fn module_with(imports: &str, rest: &str) -> gatemeter_host_tests::Module {
    let text = format!(
        r#"(module {IMPORTS} {imports}
            (memory (export "memory") 1)
            (global $free (mut i32) (i32.const 4096))
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param $size i32) (result i32)
                (global.get $free)
                (global.set $free (i32.add (global.get $free) (local.get $size))))
            ;; Logs a status as one letter, A for 0.
            (func $say (param $status i32)
                (i32.store8 (i32.const 1000) (i32.add (i32.const 65) (local.get $status)))
                (drop (call $log (i32.const 2) (i32.const 1000) (i32.const 1))))
            {rest})"#
    );
    gatemeter_host_tests::Module::from_wat(&text).expect("the module is valid")
}

/// Logs each callback with its arguments, and does what a request wants.
fn diary() -> gatemeter_host_tests::Module {
    let module = gatemeter_host_tests::Module::from_wat(include_str!("diary.wat"));
    module.expect("the module is valid")
}

/// Bytes as the text of a data segment.
fn data(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Headers as a module hands them over, as the text of a data segment; and how
/// many bytes they are.
fn header_data(headers: &[(&str, &str)]) -> (String, usize) {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    let bytes = gatemeter_host_tests::abi::pairs::serialize(&headers);
    (data(&bytes), bytes.len())
}

/// What was logged, without the canary and the main thread, in order.
fn said(envoy: &gatemeter_host_tests::Envoy) -> Vec<String> {
    use gatemeter_host_tests::host::process::Thread;
    let lines = envoy.logs().into_iter();
    lines
        .filter(|line| matches!(line.thread, Thread::Worker(_)))
        .map(|line| line.message)
        .collect()
}
