//! Path labels: whatever the path, the label is one of the configured routes or
//! a printable, bounded text without query; the radix trees agree with a
//! comparison segment by segment.
//!
//! The input is text, so that it can be read and written by hand:
//!
//! ```text
//! route /api/content/:id
//! exclude /metrics
//! rule /v\d+ => /:v
//!
//! /api/content/42?x=1
//! /any other line is a path, too
//! ```
#![no_main]

use gatemeter_core::path_label::{
    MAX_LOOKED_AT, PathLabel, PathLabeller, PathRule, RouteTable, Template,
};
use gatemeter_core::stat_name::MAX_LENGTH;
use gatemeter_fuzz::route::{best, printable};
use libfuzzer_sys::fuzz_target;

/// Rules, templates and paths of one input; more only cost time.
const MOST: usize = 16;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&byte| byte == b'\n');
    let (mut rules, mut routes, mut exclude) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines
        .by_ref()
        .take_while(|line| !line.is_empty())
        .take(MOST)
    {
        let Some((word, text)) = str::from_utf8(line).ok().and_then(|l| l.split_once(' ')) else {
            return;
        };
        match word {
            "route" => routes.extend(text.parse::<Template>()),
            "exclude" => exclude.extend(text.parse::<Template>()),
            "rule" => {
                let (pattern, replacement) = text.split_once(" => ").unwrap_or((text, ""));
                rules.extend(PathRule::try_new(pattern, replacement, true));
            }
            _ => return,
        }
    }
    let (Ok(routes), Ok(exclude)) = (RouteTable::try_new(routes), RouteTable::try_new(exclude))
    else {
        return;
    };
    let labels = |table: &RouteTable| -> Vec<String> {
        let templates = table.templates().iter();
        templates
            .map(|template| template.label().to_owned())
            .collect()
    };
    let check = Check {
        has_rules: !rules.is_empty(),
        routes: labels(&routes),
        exclude: labels(&exclude),
        labeller: PathLabeller::new(rules, routes, exclude),
    };
    for path in lines.take(MOST) {
        check.path(path);
    }
});

struct Check {
    labeller: PathLabeller,
    routes: Vec<String>,
    exclude: Vec<String>,
    has_rules: bool,
}

impl Check {
    fn path(&self, path: &[u8]) {
        let label = self.labeller.label(path);
        assert_eq!(self.labeller.label(path), label, "not pure");
        let end = path.iter().position(|byte| b"?#".contains(byte));
        let alone = &path[..end.unwrap_or(path.len())];
        for query in [b"".as_slice(), b"?token=secret", b"#/top"] {
            let longer = [alone, query].concat();
            assert_eq!(self.labeller.label(&longer), label, "a query matters");
        }

        let cut = alone.len() > MAX_LOOKED_AT;
        let text = printable(&alone[..alone.len().min(MAX_LOOKED_AT)]);
        let matching = |templates: &[String]| {
            let templates: Vec<&str> = templates.iter().map(String::as_str).collect();
            best(&templates, &text, cut)
        };
        let excluded = matching(&self.exclude).is_some();
        assert_eq!(label == PathLabel::Excluded, excluded, "{text}");
        if excluded {
            return;
        }
        match &label {
            PathLabel::Excluded => {}
            PathLabel::Route(index) => assert!(*index < self.routes.len()),
            PathLabel::Candidate(label) => {
                assert!(self.routes.is_empty());
                assert!(label.starts_with('/'));
                assert!(label.bytes().all(|byte| byte.is_ascii_graphic()));
                // Each segment "1" made ":id".
                assert!(label.len() <= 2 * MAX_LENGTH);
            }
            PathLabel::TooLong => assert!(self.routes.is_empty()),
            PathLabel::Unmatched => {}
        }
        if self.has_rules {
            return;
        }
        if let PathLabel::Candidate(label) = &label {
            assert!(!label.contains(['?', '#']), "{label}");
            assert_eq!(label.matches('/').count(), text.matches('/').count());
            assert!(!cut);
        }
        if !self.routes.is_empty() {
            let expected = matching(&self.routes).map_or(PathLabel::Unmatched, PathLabel::Route);
            assert_eq!(label, expected, "{text} in {:?}", self.routes);
        }
    }
}
