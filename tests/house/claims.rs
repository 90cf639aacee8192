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

#[test]
fn every_test_that_the_security_document_names_exists() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let document = fs::read_to_string(path).expect("docs/security.md");
    let sources = sources();
    let known: BTreeSet<&str> = sources
        .iter()
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .filter_map(|rest| rest.split(['(', '<']).next())
        .collect();
    let named: BTreeSet<&str> = named(&document).collect();
    assert!(named.len() > 50, "only {} tests are named in docs/security.md", named.len());
    let gone: Vec<_> = named.difference(&known).collect();
    assert!(gone.is_empty(), "docs/security.md names tests that do not exist: {gone:#?}");
}
