//! The functions that a module exports for the host, with the signatures that
//! Envoy looks for (`WasmBase::getFunctions` of proxy-wasm-cpp-host).
//!
//! An export of one of these names with another signature makes Envoy refuse
//! the module; see [`super::exports`].

/// Generates the enum, the names and the signatures from one table.
macro_rules! callbacks {
    ($($(#[$doc:meta])* $variant:ident $name:literal ($parameters:literal) $answers:literal,)*) => {
        /// A function that the host calls. All parameters and the answer, where
        /// there is one, are 32 bits.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Callback { $($(#[$doc])* $variant,)* }

        impl Callback {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name of the export.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The callback of the export `name`.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// How many parameters it has.
            #[must_use]
            pub const fn parameters(self) -> usize {
                match self { $(Self::$variant => $parameters,)* }
            }

            /// Whether it answers something.
            #[must_use]
            pub const fn answers(self) -> bool {
                match self { $(Self::$variant => $answers,)* }
            }
        }
    };
}

callbacks! {
    /// WASI reactor: the first thing that runs.
    Initialize "_initialize" (0) false,
    /// WASI command: the first thing that runs, without an `_initialize`.
    Start "_start" (0) false,
    /// Runs after `_initialize`.
    Main "main" (2) true,
    /// Runs after `_initialize`, without a `main`.
    MainVoid "__main_void" (0) true,
    /// A context exists: its id, and that of its root or 0.
    ContextCreate "proxy_on_context_create" (2) false,
    /// The virtual machine starts: root, size of its configuration.
    VmStart "proxy_on_vm_start" (2) true,
    /// Envoy does not call it.
    ValidateConfiguration "proxy_validate_configuration" (2) true,
    /// A plugin configuration: root, its size.
    Configure "proxy_on_configure" (2) true,
    /// The timer of a root.
    Tick "proxy_on_tick" (1) false,
    /// A connection was accepted.
    NewConnection "proxy_on_new_connection" (1) true,
    /// Bytes of the client: context, size, whether they are the last.
    DownstreamData "proxy_on_downstream_data" (3) true,
    /// Bytes for the client: context, size, whether they are the last.
    UpstreamData "proxy_on_upstream_data" (3) true,
    /// The client's connection is closed: context, by whom.
    DownstreamConnectionClose "proxy_on_downstream_connection_close" (2) false,
    /// The service's connection is closed: context, by whom.
    UpstreamConnectionClose "proxy_on_upstream_connection_close" (2) false,
    /// Request headers: context, how many, whether nothing follows.
    RequestHeaders "proxy_on_request_headers" (3) true,
    /// A piece of request body: context, size, whether nothing follows.
    RequestBody "proxy_on_request_body" (3) true,
    /// Request trailers: context, how many.
    RequestTrailers "proxy_on_request_trailers" (2) true,
    /// Request metadata: context, how many.
    RequestMetadata "proxy_on_request_metadata" (2) true,
    /// Response headers: context, how many, whether nothing follows.
    ResponseHeaders "proxy_on_response_headers" (3) true,
    /// A piece of response body: context, size, whether nothing follows.
    ResponseBody "proxy_on_response_body" (3) true,
    /// Response trailers: context, how many.
    ResponseTrailers "proxy_on_response_trailers" (2) true,
    /// Response metadata: context, how many.
    ResponseMetadata "proxy_on_response_metadata" (2) true,
    /// The answer to an HTTP call of the plugin: root, token, headers, size of
    /// the body, trailers.
    HttpCallResponse "proxy_on_http_call_response" (5) false,
    /// Initial metadata of a gRPC call: root, token, how many.
    GrpcReceiveInitialMetadata "proxy_on_grpc_receive_initial_metadata" (3) false,
    /// A message of a gRPC call: root, token, size.
    GrpcReceive "proxy_on_grpc_receive" (3) false,
    /// Trailing metadata of a gRPC call: root, token, how many.
    GrpcReceiveTrailingMetadata "proxy_on_grpc_receive_trailing_metadata" (3) false,
    /// A gRPC call is over: root, token, status.
    GrpcClose "proxy_on_grpc_close" (3) false,
    /// A queue got a value: root, queue.
    QueueReady "proxy_on_queue_ready" (2) false,
    /// A foreign function calls back: root, function, size.
    ForeignFunction "proxy_on_foreign_function" (3) false,
    /// A context is to end: whether it agrees.
    Done "proxy_on_done" (1) true,
    /// What a context saw is to be logged.
    Log "proxy_on_log" (1) false,
    /// A context is gone.
    Delete "proxy_on_delete" (1) false,
}

#[cfg(test)]
mod tests {
    use super::Callback;

    #[test]
    fn every_callback_is_found_by_its_name_and_at_its_place() {
        for (index, callback) in Callback::ALL.iter().enumerate() {
            assert_eq!(Callback::named(callback.name()), Some(*callback));
            assert_eq!(*callback as usize, index);
        }
        assert_eq!(Callback::named("proxy_on_invented"), None);
    }
}
