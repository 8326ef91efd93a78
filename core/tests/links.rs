//! Links of the documents lead somewhere: to a page, a file or a heading that is
//! there. What is elsewhere is not asked; its address only has to be one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

/// Every document that people read, by its path from the root.
fn documents() -> BTreeMap<PathBuf, Document> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            let is_ours =
                !name.starts_with('.') && !["target", "vendor", "node_modules"].contains(&&*name);
            if entry.file_type().unwrap().is_dir() && is_ours {
                folders.push(path);
            } else if name.ends_with(".md") {
                let text = fs::read_to_string(root().join(&path)).unwrap();
                found.insert(path, Document::read(&text));
            }
        }
    }
    found
}

/// What a document offers to links, and where its own lead.
struct Document {
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

impl Document {
    fn read(text: &str) -> Self {
        let mut anchors = BTreeSet::new();
        let mut links = Vec::new();
        let mut heading: Option<String> = None;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let first = anchor(&heading.take().unwrap_or_default());
                    let mut others = (1..).map(|number| format!("{first}-{number}"));
                    let is_new = anchors.insert(first.clone());
                    if !is_new {
                        let other = others.find(|other| !anchors.contains(other));
                        anchors.extend(other);
                    }
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    links.push(dest_url.into_string());
                }
                _ => {}
            }
        }
        Self { anchors, links }
    }
}

/// The name that GitHub and mdBook give a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '))
        .map(|c| {
            if c == ' ' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// The path without `.` and `..`; `None` where it leads out of the project.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

/// An address elsewhere, as far as one can see from here.
fn is_address(link: &str) -> bool {
    let rest = ["https://", "http://localhost:"]
        .iter()
        .find_map(|start| link.strip_prefix(start));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.contains(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"'))
    })
}

/// What is wrong with a link of the document at `from`.
fn fault(from: &Path, link: &str, documents: &BTreeMap<PathBuf, Document>) -> Option<&'static str> {
    if link.contains("://") {
        return (!is_address(link)).then_some("no address");
    }
    let (path, wanted) = link
        .split_once('#')
        .map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = match path {
        "" => Some(from.to_owned()),
        _ => plain(&from.parent().unwrap().join(path)),
    };
    let Some(target) = target.filter(|target| root().join(target).exists()) else {
        return Some("no such file");
    };
    // The site has what is in docs/ and nothing else.
    if from.starts_with("docs") && !target.starts_with("docs") {
        return Some("leads out of the site");
    }
    let wanted = wanted?;
    let Some(document) = documents.get(&target) else {
        return Some("an anchor in what is no document");
    };
    (!document.anchors.contains(wanted)).then_some("no such heading")
}

#[test]
fn every_link_leads_to_a_page_a_file_or_a_heading_that_is_there() {
    let documents = documents();
    let mut links = 0;
    let mut faults = Vec::new();
    for (path, document) in &documents {
        for link in &document.links {
            links += 1;
            if let Some(fault) = fault(path, link, &documents) {
                faults.push(format!("{}: {link}: {fault}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(links > 100, "only {links} links were found");
}

#[test]
fn the_table_of_contents_has_every_page_once() {
    let documents = documents();
    let contents = &documents[Path::new("docs/SUMMARY.md")].links;
    let listed: BTreeSet<_> = contents
        .iter()
        .map(|link| Path::new("docs").join(link))
        .collect();
    assert_eq!(listed.len(), contents.len(), "{contents:?}");
    let pages = documents.keys().filter(|path| path.starts_with("docs"));
    let pages: BTreeSet<_> = pages
        .filter(|path| !path.ends_with("SUMMARY.md"))
        .cloned()
        .collect();
    assert_eq!(listed, pages);
}

#[test]
fn what_leads_nowhere_is_found() {
    let documents = BTreeMap::from([(
        PathBuf::from("docs/bridge.md"),
        Document::read("# Of `a_b`: one\n"),
    )]);
    let fault = |link| fault(Path::new("docs/bridge.md"), link, &documents);
    for (link, expected) in [
        ("#of-a_b-one", None),
        ("bridge.md", None),
        ("images/live-light.png", None),
        ("https://prometheus.io/docs/", None),
        ("#of-a_b", Some("no such heading")),
        ("nothing.md", Some("no such file")),
        ("../../outside", Some("no such file")),
        ("../README.md", Some("leads out of the site")),
        (
            "images/live-light.png#top",
            Some("an anchor in what is no document"),
        ),
        ("http://example.com", Some("no address")),
        ("https://", Some("no address")),
    ] {
        assert_eq!(fault(link), expected, "{link}");
    }
}
