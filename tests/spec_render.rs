//! An answer file is what the template says, and what people see of it is free of secrets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod spec_common;

use std::{collections::BTreeMap, process::Command, sync::Arc};

use imgbuild::{
    model::Build,
    redact::Redactor,
    render::{Extras, RenderError, Rendered, TemplateLoader, TemplateMistake, answer_file},
    spec::{Mode, variables::Inputs},
};
use proptest::prelude::*;
use spec_common::check;

struct Files(BTreeMap<&'static str, String>);

impl TemplateLoader for Files {
    fn load(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

fn build(rest: &str) -> Build {
    let text = format!("version = 1\nname = \"web\"\nos = \"debian-13\"\n{rest}");
    let mut inputs = Inputs::default();
    if rest.contains("variables.pw") {
        inputs.add_argument("pw=correct horse").unwrap();
    }
    match check("web.toml", &text, &inputs, Mode::Build) {
        Ok(checked) => checked.build,
        Err(errors) => panic!("{:?}", errors.reports()),
    }
}

const SECRET: &str = "[variables.pw]\nsensitive = true\n[answer]\ntemplate = \"a\"\n[answer.values]\nroot = \"root:{{ pw }}\"\n";

fn render(rest: &str, files: &[(&'static str, &str)]) -> Result<Rendered, RenderError> {
    let files = files.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    let loader: Arc<dyn TemplateLoader> = Arc::new(Files(files));
    let extras = Extras { ssh_public_key: Some("ssh-ed25519 AAAA build".to_owned()) };
    answer_file(&build(rest), &loader, &extras)
}

#[test]
fn templates_see_the_build_and_include_others() {
    let rendered = render(
        "[variables.x]\ndefault = 7\n[answer]\ntemplate = \"a\"\n[answer.values]\nusers = [\"ann\", \"bob\"]\n",
        &[
            (
                "a",
                "{% include 'parts/head' %}{% for user in users %}\nuser {{ user }}\n{% endfor %}\n\
                 disk {{ install.disk }} {{ install.disk_size_mib }}\n{{ build.ssh_public_key }}\n\
                 {{ source.tree }} {{ build.serial }} {{ x + 1 }}\n",
            ),
            (
                "parts/head",
                "# {{ name }}: {{ os }} = {{ os.title }}, {{ os.version }}, {{ debarch }}\n",
            ),
        ],
    );
    let rendered = rendered.unwrap();
    assert_eq!(
        rendered.expose(),
        "# web: debian-13 = Debian 13 (trixie), 13, amd64\nuser ann\nuser bob\n\
         disk /dev/vda 8192\nssh-ed25519 AAAA build\nhttp://ftp.debian.org/debian ttyS0 8\n"
    );
    assert_eq!(rendered.masked, rendered.expose());
    assert!(rendered.used.contains("x") && rendered.used.contains("users"));
}

#[test]
fn no_chain_of_filters_carries_a_secret_into_what_is_shown() {
    let template = "{{ pw }}\n{{ pw | base64 }}\n{{ pw | upper | base64 | reverse }}\n{{ pw | sha512_crypt }}\n\
                    {{ root }}\n{{ (pw ~ 'x') | urlencode }}\n{{ pw | shell_quote }}\n{{ pw[0] }}{{ pw[1] }}{{ pw[2:] }}\n";
    let rendered = render(SECRET, &[("a", template)]).unwrap();
    assert!(rendered.expose().contains("root:correct horse"));
    assert!(rendered.expose().contains("$6$rounds=5000$"));
    for form in ["correct", "horse", "CORRECT", "$6$", "Y29ycmVj", "eslid"] {
        assert!(!rendered.masked.contains(form), "{form} in {}", rendered.masked);
        assert!(!format!("{rendered:?}").contains(form));
    }
    assert!(rendered.masked.contains("<sensitive:pw>"));
    // What was derived is known to the redactor.
    let hash = rendered.expose().lines().find(|it| it.starts_with("$6$")).unwrap();
    assert!(!Redactor::new(&rendered.secrets).mask(hash).contains("$6$"));
}

#[test]
fn a_template_that_computes_with_a_secret_is_withheld() {
    let rendered = render(SECRET, &[("a", "{{ (pw | split(' ') | list)[1] }}\n")]).unwrap();
    assert_eq!(rendered.expose(), "horse\n");
    assert!(!rendered.masked.contains("horse"));
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let files = [("a", "{{ pw | sha512_crypt }}")];
    assert_eq!(render(SECRET, &files).unwrap().expose(), render(SECRET, &files).unwrap().expose());
}

#[test]
fn hashes_are_those_of_crypt() {
    let rendered = render(SECRET, &[("a", "{{ pw | sha512_crypt }}")]).unwrap();
    let hash = rendered.expose();
    let salt = hash.split('$').nth(3).unwrap();
    // crypt(3) itself, by Perl, which every Debian has; OpenSSL has its own code.
    let perl = Command::new("perl")
        .args(["-e", "print crypt($ARGV[0], $ARGV[1])", "correct horse", hash])
        .output();
    let openssl = Command::new("openssl")
        .args(["passwd", "-6", "-salt", &format!("rounds=5000${salt}"), "correct horse"])
        .output();
    let tried: Vec<_> =
        [perl, openssl].into_iter().flatten().filter(|it| it.status.success()).collect();
    assert!(!tried.is_empty(), "neither perl nor openssl is here");
    for output in tried {
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), hash);
    }
}

#[test]
fn what_is_undefined_is_pointed_at() {
    let error = render(SECRET, &[("a", "first\n  {{ roott }}\n")]).unwrap_err();
    let RenderError::Template(mistake) = error else { panic!("{error:?}") };
    let TemplateMistake { message, name, line, column, help, .. } = *mistake;
    assert_eq!(
        (message.as_str(), name.as_str(), line, column),
        ("`roott` is not defined", "a", 2, 6)
    );
    assert_eq!(help.unwrap(), "did you mean `root`?");
    let error = render(SECRET, &[("a", "{% include 'b' %}"), ("b", "x\ny\n{% if %}")]).unwrap_err();
    assert!(
        matches!(&error, RenderError::Template(it) if it.name == "b" && it.line == 3),
        "{error:?}"
    );
}

#[test]
fn a_spec_written_on_windows_gives_an_answer_file_without_carriage_returns() {
    let spec = "[answer]\r\ntext = \"\"\"\r\n{% if true %}\r\nlang {{ os.version }}\r\n{% endif %}\r\npoweroff\r\n\"\"\"\r\n";
    let rendered = render(spec, &[]).unwrap();
    assert_eq!(rendered.expose(), "lang 13\npoweroff\n");
    assert_eq!(rendered.masked, rendered.expose());
}

#[test]
fn includes_stay_inside() {
    for name in ["../secret", "/etc/passwd", "x/../../y", "~root/x"] {
        let error = render(SECRET, &[("a", &format!("{{% include '{name}' %}}"))]).unwrap_err();
        assert!(error.to_string().contains("leads out of the spec's folder"), "{name}: {error}");
    }
    let error = render(SECRET, &[("a", "{% include 'missing' %}")]).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert!(matches!(render(SECRET, &[]), Err(RenderError::NoTemplate { .. })));
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    for bomb in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x{% endfor %}{% endfor %}{% endfor %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% include 'a' %}",
        "{{ 'x' * 10000000000 }}",
    ] {
        assert!(render(SECRET, &[("a", bomb)]).is_err(), "{bomb}");
    }
}

#[test]
fn errors_have_no_secrets() {
    let template = "{{ pw }}\n{{ root | nofilter }}\n{{ (pw ~ '') | int }}\n";
    let error = render(SECRET, &[("a", template)]).unwrap_err();
    assert!(!format!("{error:?}{error}").contains("horse"));
    let error = render(SECRET, &[("a", "{{ pw | int }}")]).unwrap_err();
    assert!(!format!("{error:?}{error}").contains("horse"), "{error:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_a_template_or_a_mistake(text in "(\\{\\{|\\}\\}|\\{%|%\\}|[a-z |'\".()\\[\\]*0-9\\n]){0,60}") {
        let _ = render(SECRET, &[("a", &text)]);
    }
}
