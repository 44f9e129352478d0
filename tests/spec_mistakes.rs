//! Every broken spec gets a message at the right line that says what to do.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod spec_common;

use std::fmt::Write as _;

use imgbuild::spec::{Mode, SpecErrors, variables::Inputs};
use miette::{GraphicalReportHandler, GraphicalTheme};
use spec_common::check;

#[test]
fn each_broken_spec_is_told_what_is_wrong_with_it() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad_specs");
    let mut names: Vec<_> = fs_err::read_dir(folder)
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .filter(|it| it.ends_with(".toml") || it.ends_with(".yaml"))
        .collect();
    names.sort();
    assert!(names.len() > 45);
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("snapshots/bad_specs");
    settings.set_omit_expression(true);
    settings.bind(|| {
        for name in names {
            let text = fs_err::read_to_string(format!("{folder}/{name}")).unwrap();
            let Err(errors) = check(&name, &text, &Inputs::default(), Mode::Validate) else {
                panic!("{name} is accepted");
            };
            assert!(!errors.errors().is_empty(), "{name}: silence");
            insta::assert_snapshot!(name.clone(), shown(&errors));
        }
    });
}

fn shown(errors: &SpecErrors) -> String {
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .render_report(&mut text, errors)
        .unwrap();
    text.push_str("\n--- as lines ---\n");
    for it in errors.reports() {
        let place = it
            .line
            .map_or_else(|| "?".to_owned(), |line| format!("{line}:{}", it.column.unwrap_or(0)));
        writeln!(text, "{place} {} {}", it.code, it.message).unwrap();
        assert!(it.help.is_some() || it.code.ends_with("out-of-range"), "{}: no help", it.message);
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
