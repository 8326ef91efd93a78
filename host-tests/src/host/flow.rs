//! One half of an exchange on its way through the filter, the request or the
//! response: what went on, what is held back, and what a pause means then
//! (`FilterManager` of Envoy, and `convertVmCallResult…` of
//! proxy-wasm-cpp-host).
//!
//! A pause at headers stops everything behind them. A pause at a piece of body
//! holds the piece; the callback goes on to run for what follows.

use crate::abi::MapType;
use crate::abi::callback::Callback;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// From the client to the service.
    Request,
    /// From the service to the client.
    Response,
}

impl Half {
    /// The map of its headers, and their callback.
    #[must_use]
    pub fn headers(self) -> (MapType, Callback) {
        match self {
            Self::Request => (MapType::RequestHeaders, Callback::RequestHeaders),
            Self::Response => (MapType::ResponseHeaders, Callback::ResponseHeaders),
        }
    }

    /// The callback of its body.
    #[must_use]
    pub fn body(self) -> Callback {
        match self {
            Self::Request => Callback::RequestBody,
            Self::Response => Callback::ResponseBody,
        }
    }

    /// The map of its trailers, and their callback.
    #[must_use]
    pub fn trailers(self) -> (MapType, Callback) {
        match self {
            Self::Request => (MapType::RequestTrailers, Callback::RequestTrailers),
            Self::Response => (MapType::ResponseTrailers, Callback::ResponseTrailers),
        }
    }
}

/// What the module answered to a callback, and so what becomes of what it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    Continue,
    /// It waits; the number is the ABI's, 1 is "pause".
    Stop(u32),
    /// There is nothing left to decide: the stream was answered or cut.
    Over,
}

/// Where a half is stopped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Nowhere.
    #[default]
    No,
    /// At its headers: nothing behind them is shown.
    AtHeaders,
    /// At a piece of body or at the trailers: what follows is shown.
    Behind,
}

/// How far one half of an exchange is.
#[derive(Debug, Default, Clone)]
pub struct Flow {
    /// Where it is stopped.
    pub stop: Stop,
    /// Whether its headers reached the filter.
    pub begun: bool,
    /// Whether its headers went on.
    pub passed: bool,
    /// Whether all of it went on.
    pub complete: bool,
    /// The body that went on.
    pub body: Vec<u8>,
    /// The body that is held back.
    pub held: Vec<u8>,
    /// Whether the module sees what is held back again, with the next piece.
    pub shows_held: bool,
    /// Whether what is held back is the end.
    pub held_end: bool,
    /// Whether trailers wait behind it.
    pub held_trailers: bool,
}

impl Flow {
    /// Whether the module holds it back.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop != Stop::No
    }

    /// Headers were shown, with `end` if nothing follows.
    pub fn after_headers(&mut self, action: Action, end: bool) {
        match action {
            Action::Continue => {
                self.passed = true;
                self.complete |= end;
            }
            Action::Stop(_) => {
                self.stop = Stop::AtHeaders;
                self.held_end = end;
            }
            Action::Over => {}
        }
    }

    /// The body that the module is to see when `piece` arrives: with what it
    /// wanted to see again.
    pub fn to_show(&mut self, piece: Vec<u8>) -> Vec<u8> {
        if !self.shows_held {
            return piece;
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend(piece);
        held
    }

    /// A piece of body was shown, and `piece` is what the module left of it.
    pub fn after_body(&mut self, action: Action, piece: Vec<u8>, end: bool) {
        match action {
            Action::Continue => {
                self.release_held();
                self.body.extend(piece);
                self.complete |= end;
            }
            Action::Stop(number) => {
                self.stop = Stop::Behind;
                self.held_end |= end;
                // 1 is StopIterationAndBuffer, 2 StopIterationAndWatermark: only
                // the first shows the module again what it had. 3 is
                // StopIterationNoBuffer, which keeps nothing.
                if number <= 2 {
                    self.held.extend(piece);
                }
                self.shows_held = number == 1;
            }
            Action::Over => {}
        }
    }

    /// Trailers were shown.
    pub fn after_trailers(&mut self, action: Action) {
        match action {
            Action::Continue => {
                self.release_held();
                self.complete = true;
            }
            Action::Stop(_) => {
                self.stop = Stop::Behind;
                self.held_end = true;
            }
            Action::Over => {}
        }
    }

    /// Lets go on what was held behind the headers.
    pub fn release_held(&mut self) {
        self.stop = Stop::No;
        self.shows_held = false;
        let held = std::mem::take(&mut self.held);
        self.body.extend(held);
        self.complete |= std::mem::take(&mut self.held_end);
    }
}
