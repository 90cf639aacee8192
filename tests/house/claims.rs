//! What the documents say is shown by a test is shown by a test that exists.

use std::{collections::BTreeSet, fs, path::Path};

use crate::tidy::sources;

/// Words in backquotes that look like the name of a test: a sentence has at least four words.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|word| {
        word.matches('_').count() >= 3
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    })
}

fn document(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn every_test_that_a_document_names_exists() {
    let documents = ["docs/security.md", "ARCHITECTURE.md"].map(document).concat();
    let sources = sources();
    let known: BTreeSet<&str> = sources
        .iter()
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .filter_map(|rest| rest.split(['(', '<']).next())
        .collect();
    let named: BTreeSet<&str> = named(&documents).collect();
    assert!(named.len() > 50, "only {} tests are named", named.len());
    let gone: Vec<_> = named.difference(&known).collect();
    assert!(gone.is_empty(), "documents name tests that do not exist: {gone:#?}");
}
