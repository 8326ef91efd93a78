//! A service's own page to ours: any page that is read makes pages of both
//! formats that read back as what they say, and of which nothing has to be left
//! out any more.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use gatemeter_bridge::{
    exposition::{self, Format, Part, Scope},
    families::{Family, Kind, Point},
    sources::{
        join::Join,
        page::{Owner, SourcePage, parse},
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says how two pages are spelled, and where one ends.
    let [formats, split, rest @ ..] = input else {
        return;
    };
    let (one, other) = rest.split_at(rest.len() * usize::from(*split) / 256);
    let pages: Vec<SourcePage> = [(one, formats & 1), (other, formats & 2)]
        .into_iter()
        .filter_map(|(page, bit)| {
            let format = if bit == 0 {
                Format::Text
            } else {
                Format::OpenMetrics
            };
            parse(page, format, &owner()).ok()
        })
        .collect();
    for page in &pages {
        assert!(page.families.is_sorted_by(|a, b| a.name < b.name));
        assert!(page.families.iter().all(|family| !family.series.is_empty()));
    }
    let pages: Vec<&SourcePage> = pages.iter().collect();
    let mut shown = Vec::new();
    for format in [Format::Text, Format::OpenMetrics] {
        let joined = Join::new(format).sources(&[], &pages);
        let parts: Vec<Part<'_>> = joined.families.iter().map(|of| Part::plain(of)).collect();
        let page = exposition::page(&parts, Scope::Service("api"), format);
        let page: &[u8] = page.as_ref();
        let back = parse(page, format, &owner()).expect("a page that can be read");
        assert_eq!(
            back.dropped,
            BTreeMap::new(),
            "{}",
            String::from_utf8_lossy(page)
        );
        let said = samples(joined.families.iter().flat_map(|families| families.iter()));
        assert_eq!(samples(&back.families), said);
        shown.push(said.len());
    }
    // A sum below zero is in text only.
    assert!(shown[0] >= shown[1]);
});

fn owner() -> Owner {
    Owner {
        service: "api".into(),
        labels: Vec::new(),
    }
}

/// Each sample once, by its name in either format.
fn samples<'f>(families: impl IntoIterator<Item = &'f Family>) -> BTreeSet<[String; 4]> {
    let mut samples = BTreeSet::new();
    for family in families {
        for series in &family.series {
            let Point::Lines(lines) = &series.point else {
                panic!("not as it was spelled");
            };
            for line in lines {
                let is_created = &*line.suffix == "_created" && family.kind == Kind::Counter;
                let base = family.name.strip_suffix("_total").filter(|_| is_created);
                let name = format!("{}{}", base.unwrap_or(&family.name), line.suffix);
                let mut labels: Vec<_> = series.labels.iter().collect();
                labels.sort_unstable();
                let labels = format!("{labels:?}");
                let is_new = samples.insert([
                    name,
                    labels,
                    line.labels.to_string(),
                    line.value.to_string(),
                ]);
                assert!(is_new, "a sample stands twice in {}", family.name);
            }
        }
    }
    samples
}
