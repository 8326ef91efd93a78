//! The root context: one for each plugin configuration and worker.
//!
//! It owns the counts of its service, pushes them by a tick and at its end, and
//! is where Envoy calls the module when it is used as an access logger. A
//! configuration that is refused leaves one log line and makes Envoy refuse it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use gatemeter_core::exchange;
use gatemeter_core::host::{Failed, Stream};
use gatemeter_core::plugin_config::PluginConfig;
use gatemeter_core::recorder::Recorder;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::exchange::HttpExchange;
use crate::host::{self, Proxy};

/// Counts shared by a root context and its exchanges; all on one thread.
pub(crate) type SharedRecorder = Rc<RefCell<Recorder>>;

/// A root context; without counts until it is configured.
#[derive(Default)]
pub(crate) struct Root {
    recorder: Option<SharedRecorder>,
}

impl Root {
    fn with_recorder(&self, act: impl FnOnce(&mut Recorder)) {
        // The host enters the module once at a time, so the counts are free.
        if let Some(recorder) = &self.recorder
            && let Ok(mut recorder) = recorder.try_borrow_mut()
        {
            act(&mut recorder);
        }
    }

    fn configure(&mut self) -> Result<(), String> {
        let json = host::plugin_configuration().map_err(|error| describe(&error))?;
        let config = PluginConfig::parse(&json).map_err(|errors| errors.to_string())?;
        let interval = Duration::from_millis(config.flush_interval_ms.into());
        // Addresses and time differ from start to start; clients see neither.
        let seed = Proxy.now().unwrap_or(0) ^ std::ptr::from_ref(self).addr() as u64;
        let mut recorder = Recorder::new(config, seed);
        recorder
            .configure(&Proxy)
            .map_err(|error| describe(&error))?;
        host::set_tick_period(interval).map_err(|error| describe(&error))?;
        // Were a root ever configured twice, nothing counted so far is lost.
        self.with_recorder(|recorder| recorder.close(&Proxy));
        self.recorder = Some(Rc::new(RefCell::new(recorder)));
        Ok(())
    }
}

impl Context for Root {}

/// The SDK drops a root context in its delete callback, which is the last one:
/// what was counted since the last tick is pushed here. Envoy also calls done
/// before, but for every exchange too, so that export is left out.
impl Drop for Root {
    fn drop(&mut self) {
        self.with_recorder(|recorder| recorder.close(&Proxy));
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _plugin_configuration_size: usize) -> bool {
        match self.configure() {
            Ok(()) => true,
            Err(problem) => {
                host::log_error(&format!("gatemeter: configuration refused: {problem}"));
                false
            }
        }
    }

    fn on_tick(&mut self) {
        self.with_recorder(|recorder| recorder.tick(&Proxy));
    }

    fn on_log(&mut self) {
        self.with_recorder(|recorder| exchange::on_access_log(recorder, &Proxy));
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(HttpExchange::new(self.recorder.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

fn describe(Failed(call): &Failed) -> String {
    format!(
        "host call {} failed; expected the proxy to allow it (capability_restriction_config)",
        call.as_str()
    )
}
