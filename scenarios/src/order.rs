//! Whether the steps of a file fit together: which exchange each means, and
//! that it is open then. Gives the scenario, or everything that does not fit.
//!
//! What a real proxy must know when a request comes is worked out here, ahead
//! of time: who will answer it, and whether a body follows.

use crate::expect::Expect;
use crate::format::{Answer, File, Served, Step as RawStep, Verb as RawVerb, With};
use crate::scenario::{
    Act, Direction, End, Exchange, ExchangeId, Fate, LocalReply, Only, Request, RequestLine,
    Scenario, Span, Status, Step, Verb,
};
use crate::text::{Pair, Text};

/// More workers than anybody needs to see that they share their stats.
const MOST_WORKERS: usize = 16;

/// Most repetitions of one exchange.
const MOST_TIMES: usize = 1_000;

pub(crate) fn check(file: File) -> Result<Scenario, Vec<String>> {
    let mut order = Order {
        workers: file.workers,
        ..Order::default()
    };
    if !(1..=MOST_WORKERS).contains(&file.workers) {
        order.refuse(
            "workers",
            format!("{}; expected 1 to {MOST_WORKERS}", file.workers),
        );
    }
    let only = match (file.only, file.because) {
        (None, None) => None,
        (Some(ways), Some(because)) if !ways.is_empty() => Some(Only { ways, because }),
        (Some(_), None) => {
            order.refuse(
                "only",
                "needs a reason; expected the key because beside it".to_owned(),
            );
            None
        }
        _ => {
            order.refuse(
                "because",
                "belongs to only, a list of native, wasm and envoy".to_owned(),
            );
            None
        }
    };
    for (index, step) in file.steps.into_iter().enumerate() {
        order.place = format!("steps[{index}]");
        order.step(step);
    }
    order.check_expect("expect", &file.expect);
    if file.expect.refused.is_some() && !order.steps.is_empty() {
        order.refuse(
            "expect.refused",
            "goes with no steps: a refused configuration has no traffic".to_owned(),
        );
    }
    order.mark_ends();
    if !order.problems.is_empty() {
        return Err(order.problems);
    }
    Ok(Scenario {
        description: file.description,
        config: file.config,
        form: file.form,
        workers: file.workers,
        only,
        exchanges: order.exchanges,
        steps: order.steps,
        expect: file.expect,
    })
}

/// How far an exchange is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asked,
    Answered,
    Over,
}

#[derive(Default)]
struct Order {
    workers: usize,
    place: String,
    exchanges: Vec<Exchange>,
    phases: Vec<Phase>,
    steps: Vec<Step>,
    problems: Vec<String>,
}

impl Order {
    fn refuse(&mut self, place: &str, problem: String) {
        self.problems.push(format!("{place}: {problem}"));
    }

    fn refuse_step(&mut self, problem: String) {
        let place = self.place.clone();
        self.refuse(&place, problem);
    }

    fn act(&mut self, act: Act) {
        let place = self.place.clone();
        self.steps.push(Step { place, act });
    }

    fn step(&mut self, step: RawStep) {
        let RawStep { verb, with } = step;
        let stream = with.stream.clone();
        let headers = |with: With| with.headers.unwrap_or_default().0;
        match verb {
            RawVerb::Exchange(line, answer) => self.exchange(line, answer, &with),
            RawVerb::Request(line) => {
                self.request(&line, &with);
            }
            RawVerb::Respond(status) => self.respond(stream, status, headers(with)),
            RawVerb::Upgrade => {
                let pair = |name: &str, value: &str| (name.into(), value.into());
                let headers = vec![pair("upgrade", "websocket"), pair("connection", "upgrade")];
                self.respond(stream, Status(101), headers);
            }
            RawVerb::Events => {
                let headers = vec![(b"content-type".to_vec(), b"text/event-stream".to_vec())];
                self.respond(stream, Status(200), headers);
            }
            RawVerb::RequestBody(Text(chunk)) => {
                self.body(stream, Direction::Request, chunk);
            }
            RawVerb::ResponseBody(Text(chunk)) => {
                self.body(stream, Direction::Response, chunk);
            }
            RawVerb::RequestTrailers(headers) => {
                let verb = Verb::Trailers(Direction::Request, headers.0);
                self.on(stream, &[Phase::Asked, Phase::Answered], verb);
            }
            RawVerb::ResponseTrailers(headers) => {
                let verb = Verb::Trailers(Direction::Response, headers.0);
                self.on(stream, &[Phase::Answered], verb);
            }
            RawVerb::Finish => self.end(stream, &[Phase::Answered], End::Finished),
            RawVerb::Abort => {
                self.end(stream, &[Phase::Asked, Phase::Answered], End::Aborted);
            }
            RawVerb::Reset => self.end(stream, &[Phase::Answered], End::Reset),
            RawVerb::LocalReply(status) => {
                let reply = self.local_reply(status, &with);
                if let Some(id) = self.on(
                    stream,
                    &[Phase::Asked],
                    Verb::End(End::LocalReply(reply.clone())),
                ) {
                    self.exchanges[id.0].fate = Fate::LocalReply(reply);
                    self.phases[id.0] = Phase::Over;
                }
            }
            RawVerb::Redirect(text) => self.redirect(stream, &text),
            RawVerb::Malformed(status) => match with.sent {
                Some(Text(bytes)) => self.act(Act::Malformed(status, bytes)),
                None => self.refuse_step("`malformed` needs the key sent, the bytes".to_owned()),
            },
            RawVerb::Unparsed(Text(bytes)) => self.act(Act::Unparsed(bytes)),
            RawVerb::Advance(Span(time)) => self.act(Act::Advance(time)),
            RawVerb::Tick => self.act(Act::Tick),
            RawVerb::Reconfigure(config) => self.act(Act::Reconfigure(config, with.refused)),
            RawVerb::Expect(expect) => {
                let place = format!("{}.expect", self.place);
                self.check_expect(&place, &expect);
                if expect.refused.is_some() {
                    self.refuse(
                        &place,
                        "`refused` belongs to the end, or beside reconfigure".to_owned(),
                    );
                }
                self.act(Act::Expect(expect));
            }
        }
    }

    /// A whole exchange, any number of times.
    fn exchange(&mut self, line: RequestLine, answer: Answer, with: &With) {
        let times = with.times.unwrap_or(1);
        if !(1..=MOST_TIMES).contains(&times) {
            self.refuse_step(format!("times: {times}; expected 1 to {MOST_TIMES}"));
            return;
        }
        if times > 1 && with.stream.is_some() {
            self.refuse_step("`stream` names one exchange; expected no times beside it".to_owned());
            return;
        }
        for _ in 0..times {
            let Some(id) = self.request(&line, with) else {
                return;
            };
            let takes = match &answer {
                Answer::Served(Served { takes, .. })
                | Answer::Aborted(takes)
                | Answer::LocalReply { takes, .. } => *takes,
                Answer::BeforeFilter(_) => None,
            };
            if let Some(Span(time)) = takes {
                self.act(Act::Advance(time));
            }
            match &answer {
                Answer::Served(served) => {
                    let status = served.status.unwrap_or(Status(200));
                    self.act(Act::Exchange(
                        id,
                        Verb::Respond(status, served.headers.0.clone()),
                    ));
                    if let Some(Text(chunk)) = &served.body {
                        let (direction, chunk) = (Direction::Response, chunk.clone());
                        let end = false;
                        self.act(Act::Exchange(
                            id,
                            Verb::Body {
                                direction,
                                chunk,
                                end,
                            },
                        ));
                    }
                    self.act(Act::Exchange(id, Verb::End(End::Finished)));
                }
                Answer::Aborted(_) => self.act(Act::Exchange(id, Verb::End(End::Aborted))),
                Answer::LocalReply {
                    status,
                    flag,
                    details,
                    ..
                } => {
                    let with = With {
                        flag: *flag,
                        details: details.clone(),
                        ..With::default()
                    };
                    let reply = self.local_reply(*status, &with);
                    self.exchanges[id.0].fate = Fate::LocalReply(reply.clone());
                    self.act(Act::Exchange(id, Verb::End(End::LocalReply(reply))));
                }
                Answer::BeforeFilter(status) => {
                    self.exchanges[id.0].fate = Fate::BeforeFilter(*status);
                }
            }
            self.phases[id.0] = Phase::Over;
        }
    }

    fn request(&mut self, line: &RequestLine, with: &With) -> Option<ExchangeId> {
        let worker = with.worker.unwrap_or(0);
        if worker >= self.workers {
            self.refuse_step(format!(
                "worker: {worker}; expected less than {}",
                self.workers
            ));
            return None;
        }
        let known = |name: &String| self.exchanges.iter().any(|e| e.name.as_ref() == Some(name));
        if let Some(name) = with.stream.as_ref().filter(|name| known(name)) {
            self.refuse_step(format!(
                "stream: `{name}` is the name of an earlier exchange"
            ));
            return None;
        }
        let id = ExchangeId(self.exchanges.len());
        self.exchanges.push(Exchange {
            name: with.stream.clone(),
            worker,
            request: Request {
                method: line.method.clone(),
                path: line.path.clone(),
                headers: with.headers.clone().unwrap_or_default().0,
                http2: with.http2.unwrap_or(false),
                has_body: false,
                rewritten: with.rewritten.clone(),
            },
            fate: Fate::Served,
        });
        self.phases.push(Phase::Asked);
        self.act(Act::Request(id));
        Some(id)
    }

    fn respond(&mut self, stream: Option<String>, status: Status, headers: Vec<Pair>) {
        let verb = Verb::Respond(status, headers);
        if let Some(id) = self.on(stream, &[Phase::Asked], verb) {
            self.phases[id.0] = Phase::Answered;
        }
    }

    fn body(&mut self, stream: Option<String>, direction: Direction, chunk: Vec<u8>) {
        let phases: &[_] = match direction {
            Direction::Request => &[Phase::Asked, Phase::Answered],
            Direction::Response => &[Phase::Answered],
        };
        let end = false;
        self.on(
            stream,
            phases,
            Verb::Body {
                direction,
                chunk,
                end,
            },
        );
    }

    fn end(&mut self, stream: Option<String>, phases: &[Phase], end: End) {
        if let Some(id) = self.on(stream, phases, Verb::End(end)) {
            self.phases[id.0] = Phase::Over;
        }
    }

    fn redirect(&mut self, stream: Option<String>, text: &str) {
        let parts = text.split_once(' ').and_then(|(status, path)| {
            let status = status.parse::<Status>().ok()?;
            (status.0 / 100 == 3 && path.starts_with('/')).then_some((status, path))
        });
        match parts {
            Some((status, path)) => {
                let verb = Verb::Redirect(status, path.to_owned());
                self.on(stream, &[Phase::Asked], verb);
            }
            None => self.refuse_step(format!(
                "redirect: `{text}`; expected a status from 300 to 399 and a path, such as 302 /new"
            )),
        }
    }

    fn local_reply(&mut self, status: Status, with: &With) -> LocalReply {
        if let Some(flag) = with.flag
            && let Some(expected) = flag.status().filter(|expected| *expected != status)
        {
            self.refuse_step(format!(
                "local_reply: {}; with {} it is {}",
                status.0,
                flag.as_str(),
                expected.0
            ));
        }
        let details = with.flag.map_or("direct_response", |flag| flag.details());
        LocalReply {
            status,
            flag: with.flag,
            details: with.details.clone().unwrap_or_else(|| details.to_owned()),
        }
    }

    /// Says `verb` of the exchange that `stream` names, or of the one that
    /// began last, if it is in one of these phases.
    fn on(&mut self, stream: Option<String>, phases: &[Phase], verb: Verb) -> Option<ExchangeId> {
        let index = match &stream {
            Some(name) => self
                .exchanges
                .iter()
                .position(|e| e.name.as_ref() == Some(name)),
            None => self.exchanges.len().checked_sub(1),
        };
        let Some(index) = index else {
            let problem = match stream {
                Some(name) => format!("stream: `{name}` is no exchange that began before"),
                None => "no exchange began before; expected a request first".to_owned(),
            };
            self.refuse_step(problem);
            return None;
        };
        let phase = self.phases[index];
        if !phases.contains(&phase) {
            let problem = match phase {
                Phase::Over => "the exchange is over",
                Phase::Answered => "the exchange has a response already",
                Phase::Asked => "the exchange has no response yet; expected respond before",
            };
            self.refuse_step(problem.to_owned());
            return None;
        }
        let request = match &verb {
            Verb::Body { direction, .. } | Verb::Trailers(direction, _) => {
                *direction == Direction::Request
            }
            _ => false,
        };
        self.exchanges[index].request.has_body |= request;
        let id = ExchangeId(index);
        self.act(Act::Exchange(id, verb));
        Some(id)
    }

    fn check_expect(&mut self, place: &str, expect: &Expect) {
        for (name, _) in &expect.response {
            if !self.exchanges.iter().any(|e| e.name.as_ref() == Some(name)) {
                self.refuse(place, format!("response.{name}: no exchange has this name"));
            }
        }
    }

    /// Marks the chunks that end their direction: the last one, unless
    /// trailers follow or somebody cuts it.
    fn mark_ends(&mut self) {
        let mut later: Vec<(ExchangeId, Direction)> = Vec::new();
        for step in self.steps.iter_mut().rev() {
            let Act::Exchange(id, verb) = &mut step.act else {
                continue;
            };
            match verb {
                Verb::Body { direction, end, .. } => {
                    *end = !later.contains(&(*id, *direction));
                    later.push((*id, *direction));
                }
                Verb::Trailers(direction, _) => later.push((*id, *direction)),
                Verb::End(End::Reset) => later.push((*id, Direction::Response)),
                Verb::End(End::Aborted) => {
                    later.push((*id, Direction::Response));
                    later.push((*id, Direction::Request));
                }
                _ => {}
            }
        }
    }
}
