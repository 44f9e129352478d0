//! A spec, in both languages: read or refused, and what is refused can be shown.
#![no_main]

use std::sync::LazyLock;

use imgbuild::{
    catalogue::Catalogue,
    spec::{Mode, check_text, document::Syntax, variables::Inputs},
};
use libfuzzer_sys::fuzz_target;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);

fuzz_target!(|text: &str| {
    for (name, syntax) in [("x.toml", Syntax::Toml), ("x.yaml", Syntax::Yaml)] {
        let checked =
            check_text(name, text, syntax, &Inputs::default(), &*CATALOGUE, Mode::Validate);
        if let Err(errors) = checked {
            assert!(!errors.errors().is_empty());
            assert_eq!(errors.reports().len(), errors.errors().len());
        }
    }
});
