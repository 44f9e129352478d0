//! A right spec means the same in TOML and YAML, and what it means is complete.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod spec_common;

use std::collections::{BTreeMap, BTreeSet};

use imgbuild::{
    model::{
        AnswerOrigin, Arch, BootMethod, Compression, Delivery, DiskFormat, Firmware, Place,
        Platform, Source, Target, UserAction, VerifyCondition, reveal,
    },
    spec::{
        Mode, SpecErrors,
        document::Syntax,
        variables::{Inputs, VariableFile},
    },
    units::{Size, Span},
};
use spec_common::check;

const LEAST: &str = "version = 1\nname = \"web\"\nos = \"debian-13\"\n";

const FULL_TOML: &str = include_str!("good_specs/full.toml");
const FULL_YAML: &str = include_str!("good_specs/full.yaml");

fn inputs(arguments: &[(&str, &str)]) -> Inputs {
    let mut inputs = Inputs::default();
    for (name, value) in arguments {
        inputs.add_argument(&format!("{name}={value}")).unwrap();
    }
    inputs
}

fn messages(errors: &SpecErrors) -> Vec<String> {
    errors.reports().into_iter().map(|it| it.message).collect()
}

#[test]
fn three_lines_are_enough() {
    let checked = check("web.toml", LEAST, &Inputs::default(), Mode::Build).unwrap();
    assert!(checked.warnings.is_empty());
    let build = checked.build;
    assert_eq!(build.arch, Arch::X86_64);
    assert!(
        matches!(&build.source, Source::Tree { url, .. } if url == "http://ftp.debian.org/debian")
    );
    assert_eq!(build.answer.origin, AnswerOrigin::Template("debian/preseed.cfg".to_owned()));
    assert_eq!(build.install.disk, Size::gib(8));
    assert_eq!(build.install.memory, Size::gib(1));
    assert_eq!(
        (build.install.boot, build.install.delivery),
        (BootMethod::Disk, Delivery::Metadata)
    );
    assert_eq!(
        (build.install.timeout, build.install.idle),
        (Span::minutes(180), Span::minutes(10))
    );
    assert!(matches!(&build.target, Target::File(it) if it.path == "web.qcow2"));
    let verify = build.verify.unwrap();
    assert_eq!(verify.condition, VerifyCondition::LoginPrompt);
    assert_eq!((verify.timeout, verify.memory), (Span::minutes(20), Size::gib(1)));
}

#[test]
fn toml_and_yaml_mean_the_same() {
    let given = inputs(&[("root_password", "hunter22")]);
    let toml = check("full.toml", FULL_TOML, &given, Mode::Build).unwrap();
    let yaml = check("full.yaml", FULL_YAML, &given, Mode::Build).unwrap();
    assert_eq!(format!("{:?}", toml.build), format!("{:?}", yaml.build));
    assert!(!format!("{toml:?}{given:?}").contains("hunter22"));
    assert_eq!(toml.build.answer.values, yaml.build.answer.values);

    let build = toml.build;
    assert_eq!((build.arch, build.install.firmware), (Arch::Aarch64, Firmware::Uefi));
    assert!(matches!(&build.source, Source::Package { mirror, suite, name, component, .. }
        if mirror == "http://ftp.debian.org/debian" && suite == "trixie"
            && name == "debian-installer-13-netboot-arm64" && component == "main"));
    assert!(matches!(&build.target, Target::File(it)
        if it.path == "out/web-debian-13.qcow2" && it.format == DiskFormat::Qcow2
            && it.compression == Compression::Zstd));
    assert!(matches!(build.platform, Platform::Qemu(it) if it.cpu.as_deref() == Some("max")));
    assert_eq!(build.install.parameters, ["hostname=web", "loglevel=3"]);
    assert_eq!(build.answer.values["root"], "pw hunter22");
    assert_eq!(build.answer.masked_values["root"], "pw <sensitive:root_password>");
    assert_eq!(build.answer.values["ports"], serde_json::json!([22, "http"]));
    assert_eq!(build.stages.len(), 3);
    assert_eq!(build.stages[0].place, Place::After("install".to_owned()));
    assert!(
        matches!(&build.stages[0].action, UserAction::Ssh { run, keep: true, .. } if run == &["apt-get clean"])
    );
    let UserAction::Command { environment, .. } = &build.stages[1].action else { unreachable!() };
    assert_eq!(environment["TOKEN"], "<sensitive:root_password>");
    assert_eq!(reveal(&environment["TOKEN"], &build.variables), "hunter22");
    assert!(matches!(&build.stages[2].action, UserAction::External { runner, input }
        if runner == "notify" && input["channel"] == "#images web"));
    assert_eq!(build.install.budgets["base-system"], Span::minutes(40));
    assert_eq!(build.console.len(), 1);
}

#[test]
fn unquoted_yaml_is_text_where_text_is_wanted() {
    let text = "version: 1\nname: 12\nos: debian-13\nanswer:\n  values: {a: no, b: 1.10}\n\
                target:\n  file:\n    path: 1.10\ninstall:\n  parameters: [1, true, 0x10]\n";
    let build = check("x.yaml", text, &Inputs::default(), Mode::Build).unwrap().build;
    assert_eq!(build.name, "12");
    assert!(matches!(&build.target, Target::File(it) if it.path == "1.10"));
    assert_eq!(build.install.parameters, ["1", "true", "0x10"]);
    assert_eq!(build.answer.values["a"], "no");
}

#[test]
fn the_strongest_of_the_inputs_wins() {
    let spec = format!(
        "{LEAST}[variables.x]\ndefault = \"default\"\nenv = \"X\"\n[answer]\ntext = \"{{{{ x }}}}\"\n"
    );
    let file = |text: &str| VariableFile {
        name: "v.toml".to_owned(),
        text: text.to_owned(),
        syntax: Syntax::Toml,
    };
    let mut inputs = Inputs::default();
    let value = |inputs: &Inputs| {
        check("x.toml", &spec, inputs, Mode::Build).unwrap().build.variables["x"].value.clone()
    };
    assert_eq!(value(&inputs), "default");
    inputs.environment = BTreeMap::from([("X".to_owned(), "env".to_owned())]);
    assert_eq!(value(&inputs), "env");
    inputs.environment.insert("IMGBUILD_VAR_x".to_owned(), "own".to_owned());
    assert_eq!(value(&inputs), "own");
    inputs.files = vec![file("x = 'first'"), file("x = 'second'")];
    assert_eq!(value(&inputs), "second");
    inputs.add_argument("x=argument").unwrap();
    assert_eq!(value(&inputs), "argument");
    inputs.add_argument("x=a=b").unwrap();
    assert_eq!(value(&inputs), "a=b");
}

#[test]
fn text_becomes_the_type_of_the_variable() {
    let spec = format!(
        "{LEAST}[variables.n]\ntype = \"number\"\n[variables.b]\ndefault = true\n[variables.l]\ntype = \"list\"\n\
         [answer]\ntext = \"{{{{ n }}}}{{{{ b }}}}{{{{ l }}}}\"\n"
    );
    let given = inputs(&[("n", "1.5"), ("b", "false"), ("l", "a, b")]);
    let variables = check("x.toml", &spec, &given, Mode::Build).unwrap().build.variables;
    assert_eq!(variables["n"].value, 1.5);
    assert_eq!(variables["b"].value, false);
    assert_eq!(variables["l"].value, serde_json::json!(["a", "b"]));
    let given = inputs(&[("n", "1"), ("l", "[1, \"x\"]")]);
    let variables = check("x.toml", &spec, &given, Mode::Build).unwrap().build.variables;
    assert_eq!(variables["l"].value, serde_json::json!([1, "x"]));
    let given = inputs(&[("n", "many"), ("b", "yes"), ("l", "[1")]);
    let errors = check("x.toml", &spec, &given, Mode::Build).unwrap_err();
    assert_eq!(errors.errors().len(), 3, "{:?}", messages(&errors));
}

#[test]
fn a_value_is_required_to_build_but_not_to_validate() {
    let spec = format!(
        "{LEAST}[variables.mirror]\ndescription = \"the mirror\"\n[source.tree]\nurl = \"{{{{ mirror }}}}/debian\"\n"
    );
    assert!(check("x.toml", &spec, &Inputs::default(), Mode::Validate).is_ok());
    let errors = check("x.toml", &spec, &Inputs::default(), Mode::Build).unwrap_err();
    assert_eq!(messages(&errors), ["the variable `mirror` (the mirror) has no value"]);
    assert_eq!(errors.reports()[0].line, Some(4));
    let given = inputs(&[("mirror", "not a url")]);
    assert_eq!(
        messages(&check("x.toml", &spec, &given, Mode::Build).unwrap_err()),
        ["`source.tree.url` is not a URL"]
    );
}

#[test]
fn inputs_that_the_spec_does_not_know_are_told() {
    let spec = format!("{LEAST}[variables.mirror]\ndefault = \"x\"\n");
    let mut given = inputs(&[("miror", "s3cret")]);
    given.files.push(VariableFile {
        name: "site.yaml".to_owned(),
        text: "mirror: y\nmirrorr: s3cret\n".to_owned(),
        syntax: Syntax::Yaml,
    });
    given.environment.insert("IMGBUILD_VAR_mirro".to_owned(), "s3cret".to_owned());
    let errors = check("x.toml", &spec, &given, Mode::Validate).unwrap_err();
    let reports = errors.reports();
    assert_eq!(reports.len(), 2);
    assert_eq!(reports[0].file, "site.yaml");
    assert_eq!(reports[0].line, Some(2));
    assert_eq!(reports[1].help.as_deref(), Some("did you mean `mirror`?"));
    assert!(!format!("{:?}", miette::Report::new(errors)).contains("s3cret"));

    given.arguments.clear();
    given.files.clear();
    let warnings = check("x.toml", &spec, &given, Mode::Validate).unwrap().warnings;
    assert!(warnings.iter().any(|it| it.to_string().contains("IMGBUILD_VAR_mirro")));
}

#[test]
fn secrets_are_in_no_message() {
    let spec = format!(
        "{LEAST}[variables.pw]\nsensitive = true\npattern = \"[0-9]+\"\n[answer.values]\na = \"{{{{ pw }}}}\"\n"
    );
    let errors = check("x.toml", &spec, &inputs(&[("pw", "hunter22")]), Mode::Build).unwrap_err();
    let shown = format!("{errors:?}{errors}");
    let shown = format!("{shown}{:?}", miette::Report::new(errors));
    assert!(shown.contains("does not match its pattern"));
    assert!(!shown.contains("hunter22"), "{shown}");
}

#[test]
fn a_variable_that_nothing_uses_is_a_warning() {
    let spec = format!("{LEAST}[variables.a]\ndefault = \"x\"\n[variables.b]\ndefault = \"x\"\n");
    let checked = check("x.toml", &spec, &Inputs::default(), Mode::Validate).unwrap();
    assert!(checked.warnings.is_empty(), "the template may use them");
    let unused = checked.unused_variables(&BTreeSet::from(["a".to_owned()]));
    assert_eq!(unused.len(), 1);
    let warnings = SpecErrors::of_warnings(&checked.document, unused);
    assert_eq!(warnings.to_string(), "x.toml has a warning");
    assert_eq!((warnings.reports()[0].line, warnings.reports()[0].severity), (Some(6), "warning"));

    let spec = format!("{spec}[answer]\ntext = \"{{{{ a }}}}\"\n");
    let warnings = check("x.toml", &spec, &Inputs::default(), Mode::Validate).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
}

#[test]
fn the_published_schema_says_what_the_types_say() {
    let schema = imgbuild::spec::file::schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    // What includes and a matrix can bring is not required of each file.
    assert_eq!(schema["then"]["required"], serde_json::json!(["version", "name"]));
    assert_eq!(schema["then"]["then"]["required"], serde_json::json!(["os"]));
    let text = serde_json::to_string_pretty(schema).unwrap();
    for word in [
        "base-system",
        "config-drive",
        "\"format\": \"size\"",
        "checksum-file",
        "\"maxProperties\": 1",
    ] {
        assert!(text.contains(word), "{word}");
    }
}
