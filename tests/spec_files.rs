//! Specs of several files and several builds: what is merged, and where mistakes
//! are said to be.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod spec_common;

use std::collections::BTreeMap;

use imgbuild::spec::{
    Checked, Includes, Mode, SpecErrors, check_all,
    document::{Syntax, Value},
    open,
    variables::Inputs,
};
use spec_common::{Systems, check as check_alone};

struct Folder(BTreeMap<String, String>);

impl Includes for Folder {
    fn read(&self, path: &str) -> Result<String, String> {
        self.0.get(path).cloned().ok_or_else(|| "entity not found".to_owned())
    }
}

/// The first file is the spec.
fn check_with(files: &[(&str, &str)], inputs: &Inputs) -> Result<Vec<Checked>, SpecErrors> {
    let (name, text) = files[0];
    let folder =
        Folder(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect());
    let syntax = Syntax::of_file_name(name).unwrap();
    let document = open(&format!("specs/{name}"), text, syntax, &folder)?;
    check_all(&document, inputs, &Systems::new(), Mode::Build)
}

fn check(files: &[(&str, &str)]) -> Result<Vec<Checked>, SpecErrors> {
    check_with(files, &Inputs::default())
}

/// Each mistake as `file:line code`, and its help.
fn mistakes(files: &[(&str, &str)]) -> Vec<(String, String)> {
    let errors = check(files).err().unwrap();
    let reports = errors.reports();
    reports
        .into_iter()
        .map(|it| {
            let code = it.code.trim_start_matches("imgbuild::spec::").to_owned();
            let line = it.line.map_or_else(|| "?".to_owned(), |it| it.to_string());
            (format!("{}:{line} {code}", it.file), it.help.unwrap_or_default())
        })
        .collect()
}

fn places(files: &[(&str, &str)]) -> Vec<String> {
    mistakes(files).into_iter().map(|it| it.0).collect()
}

const SPEC: &str = "version = 1\nname = \"a\"\nos = \"debian-13\"\n";

#[test]
fn the_including_file_wins_and_tables_are_merged() {
    let spec = format!("{SPEC}include = [\"parts/common.yaml\"]\n[install]\ncpus = 4\n");
    let builds = check(&[
        ("a.toml", &spec),
        ("parts/common.yaml", "include: [more.toml]\ninstall: {cpus: 1, memory: 2 GiB}\n"),
        ("parts/more.toml", "[install]\nmemory = \"3 GiB\"\ndisk = \"9 GiB\"\n"),
    ])
    .unwrap();
    let [checked] = builds.as_slice() else { unreachable!() };
    let install = &checked.build.install;
    assert_eq!(install.cpus, 4);
    assert_eq!(install.memory.as_mib(), 2048);
    assert_eq!(install.disk.as_mib(), 9 * 1024);
}

#[test]
fn another_source_replaces_the_included_one() {
    let spec =
        format!("{SPEC}include = [\"c.toml\"]\n[source.tree]\nurl = \"http://m.example/debian\"\n");
    let files =
        [("a.toml", spec.as_str()), ("c.toml", "[source.iso]\nlocation = \"/srv/x.iso\"\n")];
    assert_eq!(check(&files).unwrap().len(), 1);
}

#[test]
fn a_list_is_replaced_as_a_whole() {
    let spec = format!("{SPEC}include = [\"c.toml\"]\n[install]\nparameters = [\"a\"]\n");
    let files = [("a.toml", spec.as_str()), ("c.toml", "[install]\nparameters = [\"b\", \"c\"]\n")];
    assert_eq!(check(&files).unwrap()[0].build.install.parameters, ["a"]);
}

#[test]
fn mistakes_are_in_the_file_and_the_language_they_are_in() {
    let spec = format!("{SPEC}include = [\"x/c.yaml\"]\n[install]\ncpus = 0\n");
    let found = mistakes(&[
        ("a.toml", &spec),
        ("x/c.yaml", "# comment\ninstall:\n  memory: 12\n  colour: blue\n"),
    ]);
    let places: Vec<_> = found.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(
        places,
        [
            "specs/a.toml:6 out-of-range",
            "specs/x/c.yaml:3 bad-unit",
            "specs/x/c.yaml:4 unknown-key"
        ]
    );
}

#[test]
fn syntax_errors_are_in_their_file() {
    let spec = format!("{SPEC}include = [\"c.toml\"]\n");
    let found = places(&[("a.toml", &spec), ("c.toml", "\n\nx = = 2\n")]);
    assert_eq!(found, ["specs/c.toml:3 syntax"]);
}

#[test]
fn a_spec_that_stands_alone_includes_nothing() {
    let spec = format!("{SPEC}include = [\"c.toml\"]\n");
    let errors = check_alone("a.toml", &spec, &Inputs::default(), Mode::Build).err().unwrap();
    assert_eq!(errors.reports()[0].line, Some(4));
}

#[test]
fn circles_missing_files_and_ways_out_are_mistakes_at_their_lines() {
    let including = |it: &str| format!("{SPEC}include = [\"{it}\"]\n");
    let b = ("b.toml", "include = [\"a.toml\"]\n");
    assert_eq!(
        places(&[("a.toml", &including("b.toml")), b]),
        ["specs/b.toml:1 include"],
        "a circle"
    );
    for (written, word) in [
        ("a.toml", "includes itself"),
        ("none.toml", "entity not found"),
        ("../out.toml", "not in the spec's folder"),
        ("/etc/passwd", "not in the spec's folder"),
        ("c.txt", "language"),
    ] {
        let spec = including(written);
        let errors = check(&[("a.toml", &spec), ("c.txt", "")]).err().unwrap();
        let report = &errors.reports()[0];
        assert_eq!(report.line, Some(4), "{written}");
        assert!(report.message.contains(word), "{written}: {}", report.message);
        assert!(report.help.is_some());
    }
}

#[test]
fn files_side_by_side_may_not_differ_unless_the_spec_decides() {
    let spec = format!("{SPEC}include = [\"b.toml\", \"c.yaml\"]\n");
    let b = ("b.toml", "[install]\ncpus = 3\n");
    let c = ("c.yaml", "install:\n  memory: 2 GiB\n  cpus: 4\n");
    let found = mistakes(&[("a.toml", &spec), b, c]);
    assert_eq!(found[0].0, "specs/b.toml:2 include-conflict");
    assert!(found[0].1.contains("specs/c.yaml:3"), "{}", found[0].1);
    // The same file twice says nothing twice.
    let twice = [
        ("a.toml", spec.as_str()),
        ("b.toml", "include = [\"d.toml\"]\n"),
        ("c.yaml", "include: [d.toml]\n"),
        ("d.toml", "[install]\ncpus = 3\n"),
    ];
    assert_eq!(check(&twice).unwrap()[0].build.install.cpus, 3);
}

#[test]
fn a_table_and_a_value_do_not_merge() {
    let spec = format!("{SPEC}include = [\"c.toml\"]\n[variables.x]\n");
    assert_eq!(
        places(&[("a.toml", &spec), ("c.toml", "[variables]\nx = 1\n")]),
        ["specs/a.toml:5 include-conflict"]
    );
}

#[test]
fn included_secrets_are_shown_nowhere() {
    let spec = format!("{SPEC}include = [\"c.toml\"]\n[variables.p]\nsensitive = true\n");
    let c = ("c.toml", "[variables.p]\ndefault = \"hunter2\" \n[install]\ncolour = 1\n");
    let errors = check(&[("a.toml", &spec), c]).err().unwrap();
    let mut text = String::new();
    miette::GraphicalReportHandler::new().render_report(&mut text, &errors).unwrap();
    assert!(text.contains("colour"));
    assert!(!text.contains("hunter2"), "{text}");
}

const MATRIX: &str = "version = 1\nname = \"web-{{ os.id }}-{{ arch }}-{{ size }}\"\n\
    [matrix]\nos = [\"debian-12\", \"debian-13\"]\narch = [\"x86_64\", \"aarch64\"]\n\
    size = [\"small\", \"large\"]\n\
    exclude = [{ os = \"debian-12\", arch = \"aarch64\" }]\n\
    [variables.size]\n";

#[test]
fn a_matrix_makes_a_build_of_each_combination_but_those_excluded() {
    let builds = check(&[("a.toml", MATRIX)]).unwrap();
    let names: Vec<_> = builds.iter().map(|it| it.build.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "web-debian-12-x86_64-small",
            "web-debian-12-x86_64-large",
            "web-debian-13-x86_64-small",
            "web-debian-13-x86_64-large",
            "web-debian-13-aarch64-small",
            "web-debian-13-aarch64-large",
        ]
    );
    assert_eq!(builds[4].build.arch.to_string(), "aarch64");
    assert_eq!(builds[1].build.variables["size"].value, "large");
    assert_eq!(builds[1].chosen[0], ("os".to_owned(), "debian-12".to_owned()));
}

#[test]
fn a_matrix_in_yaml_keeps_text_that_looks_like_a_number() {
    let text = "version: 1\nname: a-{{ v }}\nos: debian-13\nmatrix: {v: [1.10, 1.9]}\n\
        variables: {v: {type: string}}\n";
    let builds = check(&[("a.yaml", text)]).unwrap();
    assert_eq!(builds[0].build.name, "a-1.10");
    assert_eq!(builds[0].build.variables["v"].value, "1.10");
}

#[test]
fn builds_must_differ_by_name_and_by_path() {
    let same = MATRIX.replace("-{{ size }}", "");
    assert_eq!(places(&[("a.toml", &same)]), ["specs/a.toml:2 same-name"]);
    let path = format!("{MATRIX}[target.file]\npath = \"x.qcow2\"\n");
    assert_eq!(places(&[("a.toml", &path)]), ["specs/a.toml:10 same-name"]);
    let path = format!("{MATRIX}[target.file]\npath = \"out/{{{{ name }}}}.qcow2\"\n");
    assert_eq!(check(&[("a.toml", &path)]).unwrap().len(), 6);
}

#[test]
fn mistakes_of_a_matrix_are_at_its_values() {
    for (from, to, expected) in [
        ("\"debian-13\"]", "\"debian-33\"]", "specs/a.toml:4 unknown-os"),
        ("size = [", "sice = [", "specs/a.toml:6 undefined-variable"),
        ("\"large\"", "\"small\"", "specs/a.toml:6 duplicate"),
        ("arch = \"aarch64\"", "arch = \"riscv64\"", "specs/a.toml:7 matrix"),
        ("arch = \"aarch64\"", "colour = \"red\"", "specs/a.toml:7 matrix"),
        ("[variables.size]", "[variables.size]\nsensitive = true", "specs/a.toml:6 exposed-secret"),
        ("{{ os.id }}", "{{ host }}", "specs/a.toml:2 undefined-variable"),
        ("web-", "web/", "specs/a.toml:2 bad-value"),
        ("name =", "os = \"debian-13\"\nname =", "specs/a.toml:5 contradiction"),
        ("[\"small\", \"large\"]", "[]", "specs/a.toml:6 too-few"),
        ("[\"small\", \"large\"]", "\"small\"", "specs/a.toml:6 wrong-type"),
    ] {
        let text = MATRIX.replacen(from, to, 1);
        assert_ne!(text, MATRIX, "{from}");
        let found = places(&[("a.toml", &text)]);
        assert_eq!(found.first().map(String::as_str), Some(expected), "{to}: {found:?}");
    }
}

#[test]
fn a_mistake_of_every_build_is_told_once_and_one_of_some_names_them() {
    let text = format!("{MATRIX}[install]\ncolour = 1\nfirmware = \"bios\"\n");
    let found = mistakes(&[("a.toml", &text)]);
    assert_eq!(found.iter().filter(|it| it.0.ends_with("unknown-key")).count(), 1);
    let text = format!("{MATRIX}[install]\nfirmware = \"bios\"\n");
    let found = mistakes(&[("a.toml", &text)]);
    assert!(found.iter().any(|it| it.1.contains("web-debian-13-aarch64-small")), "{found:?}");
}

#[test]
fn what_the_matrix_sets_is_not_set_from_outside() {
    let mut inputs = Inputs::default();
    inputs.add_argument("size=huge").unwrap();
    let errors = check_with(&[("a.toml", MATRIX)], &inputs).err().unwrap();
    assert!(errors.reports()[0].help.as_deref().unwrap().contains("--only size="));
}

#[test]
fn a_matrix_that_explodes_is_refused() {
    let numbers: Vec<_> = (0..40).map(|it| it.to_string()).collect();
    let list = numbers.join(", ");
    let names = ["a", "b", "c", "d"];
    let axes = names.map(|it| format!("{it} = [{list}]\n")).concat();
    let variables = names.map(|it| format!("[variables.{it}]\n")).concat();
    let text = format!("{SPEC}[matrix]\n{axes}{variables}");
    assert_eq!(places(&[("a.toml", &text)]), ["specs/a.toml:4 matrix"]);
}

proptest::proptest! {
    #[test]
    fn no_files_make_it_panic(spec in "(include|matrix|os|name|[a-z]{1,3})[ =\\[\\]\"a-c.,\n{}]{0,40}",
        other in "[a-z]{1,7}[ =\\[\\]\"a-c.,\n:]{0,40}") {
        let files = [("a.toml", spec.as_str()), ("b", other.as_str()), ("c", other.as_str())];
        let folder = Folder(files.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect());
        for syntax in [Syntax::Toml, Syntax::Yaml] {
            if let Ok(document) = open("a.toml", &spec, syntax, &folder) {
                assert!(matches!(document.root.value, Value::Table(_)) || syntax == Syntax::Yaml);
                _ = check_all(&document, &Inputs::default(), &Systems::new(), Mode::Validate);
            }
        }
    }
}
