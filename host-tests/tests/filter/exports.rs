use gatemeter_host_tests::Module;

#[track_caller]
fn module() -> Module {
    Module::gatemeter().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_module_exports_only_the_callbacks_it_needs() {
    let callbacks: Vec<String> = module()
        .exports()
        .into_iter()
        .filter(|name| name.starts_with("proxy_on_") && name != "proxy_on_memory_allocate")
        .collect();
    let needed = [
        "proxy_on_configure",
        "proxy_on_context_create",
        "proxy_on_delete",
        "proxy_on_log",
        "proxy_on_request_headers",
        "proxy_on_response_headers",
        "proxy_on_tick",
    ];
    assert_eq!(callbacks, needed);
}

#[test]
fn beside_the_callbacks_it_exports_what_a_host_needs_to_load_it() {
    let exports = module().exports();
    for name in ["memory", "_initialize", "proxy_abi_version_0_2_1"] {
        assert!(
            exports.iter().any(|export| export == name),
            "{name} of {exports:?}"
        );
    }
    let other: Vec<&String> = exports
        .iter()
        .filter(|name| !name.starts_with("proxy_on_") && !name.starts_with("proxy_abi_"))
        .filter(|name| !["memory", "_initialize", "malloc"].contains(&name.as_str()))
        .collect();
    assert!(other.is_empty(), "{other:?}");
}

#[test]
fn of_wasi_it_imports_what_an_allow_list_of_capabilities_must_name() {
    let imports = module().imports();
    let wasi: Vec<&str> = imports
        .iter()
        .filter_map(|name| name.strip_prefix("wasi_snapshot_preview1."))
        .collect();
    let named = [
        "clock_time_get",
        "environ_get",
        "environ_sizes_get",
        "fd_write",
        "proc_exit",
        "random_get",
    ];
    assert_eq!(wasi, named);
    let other: Vec<&String> = imports
        .iter()
        .filter(|name| !name.starts_with("env.proxy_"))
        .filter(|name| !name.starts_with("wasi_snapshot_preview1."))
        .collect();
    assert!(other.is_empty(), "{other:?}");
}
