//! `docs/reference/`: written by `make reference` from the catalogue, from the
//! tables of keys and from what the parsers answer, and compared here.

mod bridge_configuration;
mod metrics;
mod plugin_configuration;

use std::{fs, path::Path};

/// Compares a page with the one that is there, or writes it where
/// `RECORD_REFERENCE` is set.
fn compare(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/reference")
        .join(name);
    if std::env::var_os("RECORD_REFERENCE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, page).unwrap();
        return;
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let mut lines = there.lines().zip(page.lines()).zip(1..);
    let differs = lines.find(|((there, page), _)| there != page);
    assert!(
        there == page,
        "docs/reference/{name} is not what `make reference` writes; the first difference: {differs:?}"
    );
}

/// The head of a page that nobody edits.
fn head(title: &str) -> String {
    format!("<!-- Written by `make reference`. -->\n\n# {title}\n\n")
}

/// A row of a table; what would end a cell is escaped.
fn row(cells: &[&str]) -> String {
    let cells = cells.iter().map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// The two lines that begin a table.
fn columns(names: &[&str]) -> String {
    row(names) + &row(&vec!["---"; names.len()])
}

fn code(text: &str) -> String {
    format!("`{text}`")
}
