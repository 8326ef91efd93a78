//! All functions that Envoy 1.40 registers for a module of ABI 0.2.1, from
//! proxy-wasm-cpp-host (`include/proxy-wasm/exports.h`, `src/wasm.cc`), with
//! their signatures: `i` is 32 bits, `I` 64, and what comes after `:` is the
//! result.

use gatemeter_host_tests::{Envoy, Module};

const ENV: &[(&str, &str)] = &[
    ("emscripten_notify_memory_growth", "i:"),
    ("proxy_add_header_map_value", "iiiii:i"),
    ("proxy_call_foreign_function", "iiiiii:i"),
    ("proxy_close_stream", "i:i"),
    ("proxy_continue_stream", "i:i"),
    ("proxy_define_metric", "iiii:i"),
    ("proxy_dequeue_shared_queue", "iii:i"),
    ("proxy_done", ":i"),
    ("proxy_enqueue_shared_queue", "iii:i"),
    ("proxy_get_buffer_bytes", "iiiii:i"),
    ("proxy_get_buffer_status", "iii:i"),
    ("proxy_get_current_time_nanoseconds", "i:i"),
    ("proxy_get_header_map_pairs", "iii:i"),
    ("proxy_get_header_map_size", "ii:i"),
    ("proxy_get_header_map_value", "iiiii:i"),
    ("proxy_get_log_level", "i:i"),
    ("proxy_get_metric", "ii:i"),
    ("proxy_get_property", "iiii:i"),
    ("proxy_get_shared_data", "iiiii:i"),
    ("proxy_get_status", "iii:i"),
    ("proxy_grpc_call", "iiiiiiiiiiii:i"),
    ("proxy_grpc_cancel", "i:i"),
    ("proxy_grpc_close", "i:i"),
    ("proxy_grpc_send", "iiii:i"),
    ("proxy_grpc_stream", "iiiiiiiii:i"),
    ("proxy_http_call", "iiiiiiiiii:i"),
    ("proxy_increment_metric", "iI:i"),
    ("proxy_log", "iii:i"),
    ("proxy_record_metric", "iI:i"),
    ("proxy_register_shared_queue", "iii:i"),
    ("proxy_remove_header_map_value", "iii:i"),
    ("proxy_replace_header_map_value", "iiiii:i"),
    ("proxy_resolve_shared_queue", "iiiii:i"),
    ("proxy_send_local_response", "iiiiiiii:i"),
    ("proxy_set_buffer_bytes", "iiiii:i"),
    ("proxy_set_effective_context", "i:i"),
    ("proxy_set_header_map_pairs", "iii:i"),
    ("proxy_set_property", "iiii:i"),
    ("proxy_set_shared_data", "iiiii:i"),
    ("proxy_set_tick_period_milliseconds", "i:i"),
    ("pthread_equal", "ii:i"),
];

const WASI: &[(&str, &str)] = &[
    ("args_get", "ii:i"),
    ("args_sizes_get", "ii:i"),
    ("clock_res_get", "ii:i"),
    ("clock_time_get", "iIi:i"),
    ("environ_get", "ii:i"),
    ("environ_sizes_get", "ii:i"),
    ("fd_advise", "iIIi:i"),
    ("fd_allocate", "iII:i"),
    ("fd_close", "i:i"),
    ("fd_datasync", "i:i"),
    ("fd_fdstat_get", "ii:i"),
    ("fd_fdstat_set_flags", "ii:i"),
    ("fd_fdstat_set_rights", "iII:i"),
    ("fd_filestat_get", "ii:i"),
    ("fd_filestat_set_size", "iI:i"),
    ("fd_filestat_set_times", "iIIi:i"),
    ("fd_pread", "iiiIi:i"),
    ("fd_prestat_dir_name", "iii:i"),
    ("fd_prestat_get", "ii:i"),
    ("fd_pwrite", "iiiIi:i"),
    ("fd_read", "iiii:i"),
    ("fd_readdir", "iiiIi:i"),
    ("fd_renumber", "ii:i"),
    ("fd_seek", "iIii:i"),
    ("fd_sync", "i:i"),
    ("fd_tell", "ii:i"),
    ("fd_write", "iiii:i"),
    ("path_create_directory", "iii:i"),
    ("path_filestat_get", "iiiii:i"),
    ("path_filestat_set_times", "iiiiIIi:i"),
    ("path_link", "iiiiii:i"),
    ("path_open", "iiiiiIIii:i"),
    ("path_readlink", "iiiiii:i"),
    ("path_remove_directory", "iii:i"),
    ("path_rename", "iiiiii:i"),
    ("path_symlink", "iiii:i"),
    ("path_unlink_file", "iii:i"),
    ("poll_oneoff", "iiii:i"),
    ("proc_exit", "i:"),
    ("random_get", "ii:i"),
    ("sched_yield", ":i"),
    ("sock_accept", "iii:i"),
    ("sock_recv", "iiiiii:i"),
    ("sock_send", "iiiii:i"),
    ("sock_shutdown", "ii:i"),
];

fn kinds(letters: &str) -> String {
    let kinds = letters.chars().map(|letter| match letter {
        'I' => " i64",
        _ => " i32",
    });
    kinds.collect()
}

/// An import of the function, as `$f`.
fn import(module: &str, (name, signature): (&str, &str)) -> String {
    let (parameters, results) = signature.split_once(':').expect("a signature");
    let results = match results {
        "" => String::new(),
        results => format!("(result{})", kinds(results)),
    };
    format!(
        r#"(import "{module}" "{name}" (func $f (param{}) {results}))"#,
        kinds(parameters)
    )
}

/// Loads a module with these imports, and `rest`.
fn load(imports: &str, rest: &str) -> Result<Envoy, String> {
    let text = format!(
        r#"(module {imports}
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 4096))
            {rest})"#
    );
    let module = Module::from_wat(&text).map_err(|error| format!("{error}: {text}"))?;
    let envoy = Envoy::new(module).configure("");
    envoy.map_err(|refused| refused.to_string())
}

#[test]
fn every_function_of_env_is_there_with_its_signature() {
    for function in ENV {
        let loaded = load(&import("env", *function), "");
        assert!(loaded.is_ok(), "{}: {:?}", function.0, loaded.err());
    }
}

#[test]
fn every_function_of_wasi_is_there_under_both_names() {
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        for function in WASI {
            let loaded = load(&import(module, *function), "");
            assert!(loaded.is_ok(), "{}: {:?}", function.0, loaded.err());
        }
    }
}

#[test]
fn a_wrong_signature_and_a_function_of_another_abi_are_refused() {
    for function in [
        ("proxy_log", "ii:i"),
        ("proxy_get_configuration", "ii:i"),
        ("proxy_clear_route_cache", ":i"),
        ("proxy_continue_request", ":i"),
    ] {
        let refused = load(&import("env", function), "").err();
        assert!(refused.is_some_and(|error| error.contains(function.0)));
    }
    // Envoy registers it without the size of the second path.
    let standard = ("path_link", "iiiiiii:i");
    assert!(load(&import("wasi_snapshot_preview1", standard), "").is_err());
}

/// What the function answers when the parameters are `arguments`.
#[track_caller]
fn answer(name: &str, arguments: &[i64]) -> u32 {
    let function = *WASI
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a function of the list");
    let (parameters, _) = function.1.split_once(':').expect("a signature");
    assert_eq!(parameters.len(), arguments.len(), "{name}");
    let arguments: String = parameters
        .chars()
        .zip(arguments)
        .map(|(kind, number)| match kind {
            'I' => format!("(i64.const {number}) "),
            _ => format!("(i32.const {number}) "),
        })
        .collect();
    let rest = format!(r#"(func (export "proxy_test") (result i32) (call $f {arguments}))"#);
    let envoy = load(&import("wasi_snapshot_preview1", function), &rest);
    let envoy = envoy.expect("the module loads");
    let worker = envoy.worker(0);
    let errno = worker.callback(0, "proxy_test", &[]);
    errno.expect("an answer")
}

const BADF: u32 = 8;
const NOTDIR: u32 = 20;
const FAULT: u32 = 21;
const NOSYS: u32 = 52;
const NOTSUP: u32 = 58;

#[test]
fn standard_output_takes_what_other_descriptors_do_not() {
    for (name, more) in [
        ("fd_allocate", &[0, 0][..]),
        ("fd_datasync", &[]),
        ("fd_fdstat_set_rights", &[0, 0]),
        ("fd_filestat_set_size", &[0]),
        ("fd_filestat_set_times", &[0, 0, 0]),
        ("fd_sync", &[]),
        ("fd_tell", &[64]),
    ] {
        for (descriptor, errno) in [(0, BADF), (1, 0), (2, 0), (3, BADF)] {
            let arguments = [&[descriptor], more].concat();
            assert_eq!(answer(name, &arguments), errno, "{name}({descriptor})");
        }
    }
    assert_eq!(answer("fd_renumber", &[1, 2]), NOTSUP);
    assert_eq!(answer("fd_renumber", &[1, 3]), BADF);
    assert_eq!(answer("fd_pwrite", &[1, 0, 0, 0, 64]), 0);
    assert_eq!(answer("fd_pwrite", &[3, 0, 0, 0, 64]), BADF);
}

#[test]
fn files_and_sockets_do_not_exist() {
    assert_eq!(answer("path_open", &[3, 0, 0, 0, 0, 0, 0, 0, 0]), 44);
    assert_eq!(answer("fd_prestat_get", &[3, 0]), BADF);
    assert_eq!(answer("fd_prestat_dir_name", &[3, 0, 0]), NOSYS);
    assert_eq!(answer("fd_filestat_get", &[1, 0]), BADF);
    assert_eq!(answer("fd_read", &[0, 0, 0, 0]), NOSYS);
    assert_eq!(answer("fd_pread", &[0, 0, 0, 0, 0]), NOSYS);
    assert_eq!(answer("fd_readdir", &[0, 0, 0, 0, 64]), NOTDIR);
    assert_eq!(answer("path_rename", &[0; 6]), NOTSUP);
    assert_eq!(answer("sock_recv", &[0, 0, 0, 0, 64, 68]), NOTSUP);
}

#[test]
fn what_does_nothing_succeeds() {
    for (name, arguments) in [
        ("args_get", &[0, 0][..]),
        ("fd_advise", &[7, 0, 0, 0]),
        ("fd_close", &[7]),
        ("fd_seek", &[7, 0, 0, 0]),
        ("sched_yield", &[]),
        ("random_get", &[-1, 0]),
        // Envoy does not look whether the place exists.
        ("fd_fdstat_get", &[1, -1]),
    ] {
        assert_eq!(answer(name, arguments), 0, "{name}");
    }
}

#[test]
fn a_place_outside_of_the_memory_is_a_fault() {
    assert_eq!(answer("fd_tell", &[1, 65_530]), FAULT);
    assert_eq!(answer("fd_readdir", &[0, 0, 0, 0, -1]), FAULT);
    assert_eq!(answer("sock_accept", &[0, 0, 65_530]), FAULT);
    assert_eq!(answer("random_get", &[65_530, 16]), FAULT);
    assert_eq!(answer("clock_time_get", &[0, 0, 65_530]), FAULT);
}
