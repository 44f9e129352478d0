//! Whatever a file holds, it is read or refused in good time, never with a panic.

mod spec_common;

use std::time::{Duration, Instant};

use imgbuild::spec::{Mode, variables::Inputs};
use proptest::prelude::*;
use spec_common::check;

const FULL: [(&str, &str); 2] = [
    ("full.toml", include_str!("good_specs/full.toml")),
    ("full.yaml", include_str!("good_specs/full.yaml")),
];

/// Reads a text in both languages; what is refused can be shown.
fn survive(text: &str) {
    for name in ["x.toml", "x.yaml"] {
        if let Err(errors) = check(name, text, &Inputs::default(), Mode::Validate) {
            assert!(!errors.errors().is_empty());
            let n_reports = errors.reports().len();
            assert_eq!(n_reports, errors.errors().len());
            assert!(!format!("{:?}", miette::Report::new(errors)).is_empty());
        }
    }
}

#[test]
fn deep_wide_and_self_referring_texts_are_refused_quickly() {
    let mut laughs = String::from("a: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let items = vec![format!("*a{}", i - 1); 10].join(", ");
        laughs = laughs + "b" + &i.to_string() + ": &a" + &i.to_string() + " [" + &items + "]\n";
    }
    for text in [
        "[".repeat(100_000),
        "a = ".to_owned() + &"[".repeat(100_000),
        "a: ".repeat(10_000),
        "- ".repeat(10_000),
        "{".repeat(100_000),
        lines(5_000, |i| format!("{}a{i}:", " ".repeat(i))),
        format!("a{} = 1", ".a".repeat(50_000)),
        format!("[a{}]", ".a".repeat(50_000)),
        lines(30_000, |i| format!("k{i} = {i}")),
        lines(30_000, |i| format!("k{i}: {i}")),
        laughs,
        "&a [*a]".to_owned(),
        "a: &a\n  <<: *a\n".to_owned(),
        "<<: [1, 2]\n".to_owned(),
        "? [a, b]\n: c\n".to_owned(),
        "\u{feff}".to_owned(),
        "\0".to_owned(),
        "version: 1\r\nname: \"\\xff\"\r\n".to_owned(),
        "x".repeat(3 << 20),
    ] {
        let started = Instant::now();
        survive(&text);
        let start: String = text.chars().take(20).collect();
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{start}… took {:?}",
            started.elapsed()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        survive(&text);
    }

    #[test]
    fn any_mutation_of_a_spec_is_survived(
        which in 0..2usize,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..20usize, "[\\[\\]{}=:'\"#&*|>!%@,.\\- \n\t0-9a-zäß\\\\]{0,6}"), 1..6),
    ) {
        let (name, text) = FULL[which];
        let mut text = text.to_owned();
        for (at, length, insert) in &cuts {
            if text.is_empty() {
                break;
            }
            let mut from = at.index(text.len());
            while !text.is_char_boundary(from) { from -= 1; }
            let mut until = (from + length).min(text.len());
            while !text.is_char_boundary(until) { until += 1; }
            text.replace_range(from..until, insert);
        }
        if let Err(errors) = check(name, &text, &Inputs::default(), Mode::Validate) {
            for report in errors.reports() {
                let n_lines = text.lines().count() + 1;
                prop_assert!(report.line.is_none_or(|it| it <= n_lines));
            }
            let _ = format!("{:?}", miette::Report::new(errors));
        }
    }
}

#[test]
fn both_good_specs_are_good() {
    for (name, text) in FULL {
        check(name, text, &Inputs::default(), Mode::Validate).unwrap();
    }
}

fn lines(n_lines: usize, line: impl Fn(usize) -> String) -> String {
    (0..n_lines).map(line).collect::<Vec<_>>().join("\n")
}
