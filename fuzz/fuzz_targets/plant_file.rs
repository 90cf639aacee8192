//! Any bytes as a plant file: never a panic, and a plant exactly if there is no error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plantwin_model::{
    MESSAGE_LIMIT, Severity,
    file::{Catalog, ReadOptions, read_plant},
};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let checked = read_plant("plant.toml", &text, &Catalog::default(), &ReadOptions::default());
    let errors = checked.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(checked.plant.is_none(), errors);
    for diagnostic in &checked.diagnostics {
        assert!(diagnostic.message.chars().count() <= MESSAGE_LIMIT);
        assert!(!diagnostic.message.contains('\n'));
        checked.sources.snippet(diagnostic);
    }
});
