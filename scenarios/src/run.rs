//! The interpreter: says the steps of a scenario to a proxy, and looks at what
//! is expected. It knows no proxy but the trait.

use crate::expect::Expect;
use crate::page::Page;
use crate::proxy::{Proxy, RunError};
use crate::scenario::{Act, ExchangeId, Scenario, Verb};

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The page at each `expect` among the steps, and last the one at the end;
    /// none where the configuration was refused, as expected.
    pub pages: Vec<Page>,
    /// Everything that is not as expected, each with the place in the file.
    pub unmet: Vec<String>,
}

impl Outcome {
    /// The page at the end.
    pub fn page(&self) -> Option<&Page> {
        self.pages.last()
    }
}

/// Runs a scenario on a proxy that was started with its configuration, or was
/// not. `like` is the outcome of another way to run it: every page must agree
/// with the one there.
///
/// # Errors
/// Where a configuration is refused that should be taken, the module traps, or
/// the proxy cannot do what is asked.
pub fn run<P: Proxy>(
    scenario: &Scenario,
    started: Result<P, RunError>,
    like: Option<&Outcome>,
) -> Result<Outcome, RunError> {
    let mut outcome = Outcome::default();
    let expected_refusal = scenario.expect.refused.as_deref();
    let mut proxy = match (started, expected_refusal) {
        (Ok(_), Some(part)) => {
            let text = format!("expect.refused: the configuration is taken; expected `{part}`");
            outcome.unmet.push(text);
            return Ok(outcome);
        }
        (Err(RunError::Refused(reason)), Some(part)) => {
            outcome.unmet.extend(told("expect.refused", &reason, part));
            return Ok(outcome);
        }
        (started, _) => started?,
    };
    for step in &scenario.steps {
        match &step.act {
            Act::Request(id) => proxy.request(*id, &scenario.exchanges[id.0])?,
            Act::Exchange(id, verb) => say(&mut proxy, *id, verb)?,
            Act::Malformed(status, sent) => proxy.malformed(*status, sent)?,
            Act::Unparsed(sent) => proxy.unparsed(sent)?,
            Act::Advance(time) => proxy.advance(*time)?,
            Act::Tick => proxy.tick()?,
            Act::Reconfigure(config, refused) => {
                let place = format!("{}.refused", step.place);
                match (proxy.reconfigure(config), refused) {
                    (Err(RunError::Refused(reason)), Some(part)) => {
                        outcome.unmet.extend(told(&place, &reason, part));
                    }
                    (Ok(()), Some(part)) => outcome.unmet.push(format!(
                        "{place}: the configuration is taken; expected `{part}`"
                    )),
                    (reconfigured, None) | (reconfigured @ Err(_), _) => reconfigured?,
                }
            }
            Act::Expect(expect) => {
                let place = format!("{}.expect", step.place);
                look(&mut outcome, scenario, &mut proxy, expect, &place, like)?;
            }
        }
    }
    look(
        &mut outcome,
        scenario,
        &mut proxy,
        &scenario.expect,
        "expect",
        like,
    )?;
    Ok(outcome)
}

fn say(proxy: &mut impl Proxy, id: ExchangeId, verb: &Verb) -> Result<(), RunError> {
    match verb {
        Verb::Respond(status, headers) => proxy.respond(id, *status, headers),
        Verb::Body {
            direction,
            chunk,
            end,
        } => proxy.body(id, *direction, chunk, *end),
        Verb::Trailers(direction, trailers) => proxy.trailers(id, *direction, trailers),
        Verb::Redirect(status, path) => proxy.redirect(id, *status, path),
        Verb::End(end) => proxy.end(id, end),
    }
}

fn told(place: &str, reason: &str, part: &str) -> Option<String> {
    let is_missing = !reason.contains(part);
    is_missing.then(|| format!("{place}: expected `{part}`, found: {reason}"))
}

fn look(
    outcome: &mut Outcome,
    scenario: &Scenario,
    proxy: &mut impl Proxy,
    expect: &Expect,
    place: &str,
    like: Option<&Outcome>,
) -> Result<(), RunError> {
    let clock = proxy.clock();
    let same = like.and_then(|like| like.pages.get(outcome.pages.len()));
    let unmet = |page: &Page| {
        let mut unmet = expect.unmet_by_page(page, clock);
        let differences = same.map(|same| same.differences(page, clock));
        unmet.extend(differences.into_iter().flatten());
        unmet
    };
    let page = proxy.page(&mut |page| unmet(page).is_empty())?;
    let mut found = unmet(&page);
    for (name, response) in &expect.response {
        let mut exchanges = scenario.exchanges.iter();
        let index = exchanges.position(|e| e.name.as_ref() == Some(name));
        let got = index.and_then(|index| proxy.got(ExchangeId(index)));
        found.extend(response.unmet(name, got.as_ref()));
    }
    found.extend(expect.unmet_by_log(&proxy.log()));
    let found = found.into_iter().map(|text| format!("{place}.{text}"));
    outcome.unmet.extend(found);
    outcome.pages.push(page);
    Ok(())
}
