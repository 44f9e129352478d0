//! An answer file of whatever kind: inspected, linted, mended.
#![no_main]

use std::sync::LazyLock;

use imgbuild::{
    answer::{fix, inspect, lint},
    catalogue::Catalogue,
};
use libfuzzer_sys::fuzz_target;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);

fuzz_target!(|text: &str| {
    for name in ["x.ks", "x.cfg", "x.xml", "x.json", "user-data"] {
        let inspection = inspect(name, text, &CATALOGUE);
        lint(&inspection, None, text);
    }
    let (mended, changes) = fix(text, None, &CATALOGUE);
    assert!(!changes.is_empty() || mended == text, "what is not told is not changed");
    let (again, changes) = fix(&mended, None, &CATALOGUE);
    assert!(changes.is_empty() && again == mended, "what is mended stays so");
});
