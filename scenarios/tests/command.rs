//! The command `gatemeter-host` as an operator runs it: pages, exit codes, what
//! it says of files that are no scenarios.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use gatemeter_host_tests::Module;
use tempfile::TempDir;

/// The filter, or an error that says how to build it.
fn filter() -> Result<PathBuf> {
    Module::gatemeter()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Ok(root.join("dist/gatemeter_filter.wasm"))
}

fn case(name: &str) -> PathBuf {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    cases.join(name).with_extension("yaml")
}

fn host() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatemeter-host"));
    command.arg("run");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ensure_exit(output: &Output, code: i32) -> Result<()> {
    ensure!(
        output.status.code() == Some(code),
        "{:?} instead of {code}: {}",
        output.status.code(),
        text(&output.stderr)
    );
    Ok(())
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text)?;
    }
    Ok(folder)
}

/// The value of a sample, by a parser that is not ours.
fn value(page: &str, name: &str, label: Option<(&str, &str)>) -> Result<f64> {
    let scrape = prometheus_parse::Scrape::parse(page.lines().map(|line| Ok(line.to_owned())))?;
    let mut samples = scrape.samples.into_iter();
    let sample = samples.find(|sample| {
        let has = |(name, value)| sample.labels.get(name) == Some(value);
        sample.metric == name && label.is_none_or(has)
    });
    match sample
        .with_context(|| format!("no {name} in {page}"))?
        .value
    {
        prometheus_parse::Value::Counter(value)
        | prometheus_parse::Value::Gauge(value)
        | prometheus_parse::Value::Untyped(value) => Ok(value),
        other => anyhow::bail!("{name} is {other:?}"),
    }
}

const PLAIN: &str = "
description: Two requests.
config: {service: api, routes: [/a]}
steps:
  - GET /a: 200
  - GET /b: 200
";

#[test]
fn prints_the_page_of_the_module_and_the_same_page_without_it() -> Result<()> {
    let folder = folder(&[("plain.yaml", PLAIN)])?;
    let file = folder.path().join("plain.yaml");
    let on_module = host().arg(&file).arg("--wasm").arg(filter()?).output()?;
    ensure_exit(&on_module, 0)?;
    let page = text(&on_module.stdout);
    ensure!(
        value(&page, "http_requests_total", Some(("path", "/a")))? == 1.0,
        "{page}"
    );
    ensure!(
        value(&page, "http_requests_total", Some(("path", "_UNMATCHED")))? == 1.0,
        "{page}"
    );
    ensure!(value(&page, "active_connections", None)? == 0.0, "{page}");
    ensure!(page.contains("# HELP http_requests_total Total number of HTTP requests processed\n"));
    let natively = host().arg(&file).arg("--native").output()?;
    ensure_exit(&natively, 0)?;
    ensure!(text(&natively.stdout) == page, "{}", text(&natively.stdout));
    Ok(())
}

#[test]
fn prints_open_metrics_if_asked() -> Result<()> {
    let output = host()
        .arg(case("seven-metrics"))
        .args(["--native", "--format", "openmetrics"])
        .output()?;
    ensure_exit(&output, 0)?;
    let page = text(&output.stdout);
    ensure!(page.contains("# TYPE http_requests counter\n"), "{page}");
    ensure!(page.ends_with("# EOF\n"), "{page}");
    Ok(())
}

#[test]
fn checks_every_case_that_ships_and_prints_nothing() -> Result<()> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cases")
        .read_dir()?;
    let files = cases
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    let output = host()
        .args(&files)
        .arg("--check")
        .arg("--wasm")
        .arg(filter()?)
        .output()?;
    ensure_exit(&output, 0)?;
    ensure!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
    Ok(())
}

#[test]
fn says_what_is_not_as_expected_and_exits_with_1() -> Result<()> {
    let wrong = format!(
        "{PLAIN}  - request: GET /a\n    stream: open\n  - respond: 404\n\
         expect:\n  metrics:\n    \
         http_requests_total{{method=\"GET\",path=\"/a\",status=\"200\"}}: 2\n    \
         http_requests_total{{method=\"GET\",path=\"/b\",status=\"200\"}}: 1\n  \
         response: {{open: {{status: 200, headers: {{x-a: b}}}}}}\n  log: [nothing]\n"
    );
    let folder = folder(&[("wrong.yaml", &wrong)])?;
    let file = folder.path().join("wrong.yaml");
    let output = host().arg(&file).args(["--native", "--check"]).output()?;
    ensure_exit(&output, 1)?;
    let said = text(&output.stderr);
    for line in [
        r#"expect.metrics: http_requests_total{method="GET",path="/a",status="200"}: expected 2, found 1"#,
        r#"path="/b",status="200"}: expected 1, found absent"#,
        r#"the page has http_requests_total{method="GET",path="_UNMATCHED",status="200"} 1"#,
        "expect.response.open.status: expected 200, found 404",
        "expect.response.open.headers.x-a: expected b, found absent",
        "expect.log: no line contains `nothing`, in 0 lines",
    ] {
        ensure!(said.contains(line), "no {line} in {said}");
    }
    ensure!(said.contains(&file.display().to_string()), "{said}");
    Ok(())
}

#[test]
fn a_configuration_that_the_filter_refuses_is_told_in_its_words() -> Result<()> {
    let folder = folder(&[
        ("plain.yaml", PLAIN),
        ("plugin.json", r#"{"service": "api", "max_series": 0}"#),
    ])?;
    for way in [
        vec!["--native".into()],
        vec!["--wasm".into(), filter()?.into_os_string()],
    ] {
        let output = host()
            .arg(folder.path().join("plain.yaml"))
            .arg("--plugin-config")
            .arg(folder.path().join("plugin.json"))
            .args(way)
            .output()?;
        ensure_exit(&output, 2)?;
        let said = text(&output.stderr);
        let part = "the configuration is refused: gatemeter: configuration refused: max_series: 0; \
                    expected a whole number from 1 to 100000";
        ensure!(said.contains(part), "{said}");
        ensure!(output.stdout.is_empty());
    }
    Ok(())
}

#[test]
fn takes_the_plugin_configuration_from_a_file() -> Result<()> {
    let folder = folder(&[
        ("plain.yaml", PLAIN),
        ("plugin.json", r#"{"service": "other", "routes": ["/b"]}"#),
    ])?;
    let output = host()
        .arg(folder.path().join("plain.yaml"))
        .arg("--native")
        .arg("--plugin-config")
        .arg(folder.path().join("plugin.json"))
        .output()?;
    ensure_exit(&output, 0)?;
    let page = text(&output.stdout);
    ensure!(
        value(&page, "http_requests_total", Some(("path", "/b")))? == 1.0,
        "{page}"
    );
    Ok(())
}

/// A module that counts exchanges under names of its own, and traps on the
/// third one.
const FOREIGN: &str = r#"(module
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_record_metric" (func $record (param i32 i64) (result i32)))
  (memory (export "memory") 1)
  (global $exchanges (mut i32) (i32.const 0))
  (data (i32.const 32) "my.exchanges")
  (data (i32.const 48) "my-exchanges")
  (data (i32.const 64) "5 sizes")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $define (i32.const 0) (i32.const 32) (i32.const 12) (i32.const 0)))
    (drop (call $define (i32.const 1) (i32.const 48) (i32.const 12) (i32.const 4)))
    (drop (call $define (i32.const 2) (i32.const 64) (i32.const 7) (i32.const 8)))
    (i32.const 1))
  (func (export "proxy_on_log") (param i32)
    (global.set $exchanges (i32.add (global.get $exchanges) (i32.const 1)))
    (if (i32.gt_u (global.get $exchanges) (i32.const 2)) (then (unreachable)))
    (drop (call $increment (i32.load (i32.const 0)) (i64.const 2)))
    (drop (call $record (i32.load (i32.const 4)) (i64.const 7)))
    (drop (call $record (i32.load (i32.const 8)) (i64.const 11)))))"#;

#[test]
fn runs_a_module_that_is_not_ours_and_prints_its_stats() -> Result<()> {
    let folder = folder(&[
        ("foreign.wat", FOREIGN),
        (
            "two.yaml",
            "description: d\nconfig: any text\nsteps: [GET /a: 200, GET /b: 404]\n",
        ),
    ])?;
    let output = host()
        .arg(folder.path().join("two.yaml"))
        .arg("--wasm")
        .arg(folder.path().join("foreign.wat"))
        .output()?;
    ensure_exit(&output, 0)?;
    let page = text(&output.stdout);
    // Two names that Prometheus cannot tell apart keep their own.
    ensure!(
        value(&page, "my_exchanges", Some(("stat", "my.exchanges")))? == 4.0,
        "{page}"
    );
    ensure!(
        value(&page, "my_exchanges", Some(("stat", "my-exchanges")))? == 7.0,
        "{page}"
    );
    ensure!(value(&page, "_5_sizes_count", None)? == 2.0, "{page}");
    ensure!(value(&page, "_5_sizes_sum", None)? == 22.0, "{page}");
    ensure!(!page.contains("http_requests_total"), "{page}");
    Ok(())
}

#[test]
fn a_trap_is_told_with_its_cause_and_exits_with_1() -> Result<()> {
    let folder = folder(&[
        ("foreign.wat", FOREIGN),
        (
            "three.yaml",
            "description: d\nconfig: ''\nsteps: [{GET /a: 200, times: 3}]\n",
        ),
    ])?;
    let output = host()
        .arg(folder.path().join("three.yaml"))
        .arg("--wasm")
        .arg(folder.path().join("foreign.wat"))
        .output()?;
    ensure_exit(&output, 1)?;
    let said = text(&output.stderr);
    ensure!(
        said.contains("proxy_on_log") && said.contains("unreachable"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_missing_module_names_the_command_that_builds_it() -> Result<()> {
    let output = host()
        .arg(case("templates"))
        .args(["--wasm", "no.wasm"])
        .output()?;
    ensure_exit(&output, 2)?;
    let said = text(&output.stderr);
    ensure!(
        said.contains("cannot read no.wasm") && said.contains("run `make wasm`"),
        "{said}"
    );
    let usage = host().arg("--nonsense").output()?;
    ensure_exit(&usage, 2)
}

#[test]
fn a_scenario_that_does_not_run_this_way_says_why() -> Result<()> {
    let only = PLAIN.replace(
        "steps:",
        "only: [envoy]\nbecause: it is about sockets\nsteps:",
    );
    let folder = folder(&[("only.yaml", &only)])?;
    let output = host()
        .arg(folder.path().join("only.yaml"))
        .arg("--native")
        .output()?;
    ensure_exit(&output, 2)?;
    let said = text(&output.stderr);
    ensure!(
        said.contains("does not run as native: it is about sockets"),
        "{said}"
    );
    Ok(())
}

/// One bad file a rule: what it says of the value and of what is accepted.
#[test]
fn a_file_that_is_no_scenario_is_refused_with_place_value_and_what_is_accepted() -> Result<()> {
    let head = "description: d\nconfig: {service: api}\n";
    let steps = |steps: &str| format!("{head}steps:\n{steps}");
    let expect = |expect: &str| format!("{head}expect: {expect}\n");
    let bad = [
        (
            "config: {service: api}\n".to_owned(),
            "missing field `description`",
        ),
        (
            format!("{head}step: []\n"),
            "unknown field `step`, expected one of `description`",
        ),
        (format!("{head}config: 1\n"), "duplicate"),
        (
            "description: d\nconfig: [a]\n".to_owned(),
            "expected the plugin configuration",
        ),
        (
            format!("{head}form: tcp\n"),
            "unknown variant `tcp`, expected `filter` or `access_logger`",
        ),
        (
            format!("{head}workers: 0\n"),
            "workers: 0; expected 1 to 16",
        ),
        (
            format!("{head}only: [native]\n"),
            "expected the key because",
        ),
        (format!("{head}because: x\n"), "because: belongs to only"),
        (
            format!("{head}only: [browser]\nbecause: x\n"),
            "unknown variant `browser`",
        ),
        (
            steps("  - finnish\n"),
            "`finnish` is no step without a value; expected one of upgrade",
        ),
        (
            steps("  - answer: 200\n"),
            "unknown field `answer`, expected one of `METHOD PATH`",
        ),
        (steps("  - {}\n"), "a step does nothing; expected one of"),
        (
            steps("  - {tick: , advance: 1s}\n"),
            "`tick` and `advance` are two steps",
        ),
        (
            steps("  - GET /a: 200\n    worker: 0\n    worker: 0\n"),
            "`worker` stands twice",
        ),
        (
            steps("  - GET /a: 200\n    flag: UF\n"),
            "`flag` does not go with `GET /a`; expected stream",
        ),
        (
            steps("  - GET /a: 99\n"),
            "`99` is no answer; expected a status from 100 to 999",
        ),
        (steps("  - GET /a: {}\n"), "an answer is one of status"),
        (
            steps("  - GET /a: {status: 200, flag: UF}\n"),
            "an answer is one of status",
        ),
        (
            steps("  - GET /a: 200\n    times: 0\n"),
            "steps[0]: times: 0; expected 1 to 1000",
        ),
        (
            steps("  - GET /a: 200\n    worker: 1\n"),
            "steps[0]: worker: 1; expected less than 1",
        ),
        (
            steps("  - GET /a: {status: 200, takes: 5}\n"),
            "`5` is no time; expected a whole number with us",
        ),
        (steps("  - advance: soon\n"), "`soon` is no time"),
        (
            steps("  - request: ''\n"),
            "`` is no request; expected METHOD PATH",
        ),
        (
            steps("  - request: {bytes: '\\q'}\n"),
            "expected \\xNN or \\\\",
        ),
        (
            steps("  - GET /a: {local_reply: 503, flag: XX}\n"),
            "`XX` is no flag of a local reply; expected one of UC",
        ),
        (
            steps("  - GET /a: {local_reply: 500, flag: UF}\n"),
            "local_reply: 500; with UF it is 503",
        ),
        (
            steps("  - request: GET /a\n  - redirect: /b\n"),
            "redirect: `/b`; expected a status from 300 to 399",
        ),
        (
            steps("  - malformed: 400\n"),
            "`malformed` needs the key sent",
        ),
        (
            steps("  - respond: 200\n"),
            "no exchange began before; expected a request first",
        ),
        (
            steps("  - request: GET /a\n  - finish\n"),
            "the exchange has no response yet; expected respond before",
        ),
        (
            steps("  - request: GET /a\n  - respond: 200\n  - respond: 200\n"),
            "the exchange has a response already",
        ),
        (
            steps("  - GET /a: 200\n  - abort\n"),
            "steps[1]: the exchange is over",
        ),
        (
            steps("  - request: GET /a\n  - abort:\n    stream: b\n"),
            "stream: `b` is no exchange that began before",
        ),
        (
            steps("  - GET /a: 200\n    stream: a\n  - GET /a: 200\n    stream: a\n"),
            "stream: `a` is the name of an earlier exchange",
        ),
        (
            steps("  - GET /a: 200\nexpect: {refused: x}\n"),
            "a refused configuration has no traffic",
        ),
        (
            steps("  - expect: {refused: x}\n"),
            "`refused` belongs to the end",
        ),
        (
            expect("{metric: {}}"),
            "unknown field `metric`, expected one of `metrics`",
        ),
        (
            expect("{metrics: {'a{b=c}': 1}}"),
            "`a{b=c}` is no sample; expected one as on the page",
        ),
        (
            expect("{metrics: {a: many}}"),
            "`many` is no value; expected a number or absent",
        ),
        (expect("{metrics: {a: 1, a: 2}}"), "`a` stands twice"),
        (
            expect("{response: {a: {status: 200}}}"),
            "response.a: no exchange has this name",
        ),
        (
            expect("{response: {a: {code: 200}}}"),
            "unknown field `code`",
        ),
        (steps(" - GET /a: 200\n- b\n"), "line "),
    ];
    let folder = tempfile::tempdir()?;
    for (yaml, part) in bad {
        let file = folder.path().join("bad.yaml");
        std::fs::write(&file, &yaml)?;
        let output = host().arg(&file).arg("--native").output()?;
        let said = text(&output.stderr);
        ensure!(
            said.contains(part) && said.starts_with(&file.display().to_string()),
            "no `{part}` in `{said}` of\n{yaml}"
        );
        ensure_exit(&output, 2)?;
        ensure!(output.stdout.is_empty());
    }
    Ok(())
}

#[test]
fn a_wrong_value_is_told_with_its_line() -> Result<()> {
    let yaml = format!("{PLAIN}  - advance: 3 days\n");
    let folder = folder(&[("bad.yaml", &yaml)])?;
    let output = host()
        .arg(folder.path().join("bad.yaml"))
        .arg("--native")
        .output()?;
    let said = text(&output.stderr);
    ensure!(
        said.contains("steps[2]") && said.contains("at line 7 column"),
        "{said}"
    );
    Ok(())
}
