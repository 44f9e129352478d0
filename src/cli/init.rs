//! `init`: a spec and its answer file, ready to edit and commit.

use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    Surroundings,
    arguments::{Init, Overrides},
    failure::{Failure, Plain},
    generate::{self, Answer},
    load, templates,
};
use crate::{
    catalogue::{Catalogue, Os},
    model::Arch,
};

/// `imgbuild init`
pub(super) fn init(arguments: &Init, cx: &Surroundings) -> Result<(), Failure> {
    let catalogue = load::catalogue(&cx.home)?;
    let files = match &arguments.from {
        Some(path) => from_answer_file(path, arguments, &catalogue)?,
        None => for_os(arguments.os.as_deref().unwrap_or_default(), &catalogue)?,
    };
    let files: Vec<_> = files
        .into_iter()
        .map(|(name, text)| match (arguments.yaml, name.strip_suffix(".toml")) {
            (true, Some(stem)) => Ok((format!("{stem}.yaml"), yaml_of(&text)?)),
            _ => Ok((name, text)),
        })
        .collect::<Result<_, Failure>>()?;
    // Nothing is written unless everything can be.
    for (name, _) in &files {
        let path = arguments.dir.join(name);
        if path.exists() && !arguments.force {
            return Err(Failure::usage(Plain::new(
                format!("`{path}` is there already"),
                "--force replaces it, --dir names another folder",
            )));
        }
    }
    for (name, text) in &files {
        write(&arguments.dir.join(name), text)?;
    }
    Ok(())
}

type Files = Vec<(String, String)>;

fn from_answer_file(
    path: &Utf8Path,
    arguments: &Init,
    catalogue: &Catalogue,
) -> Result<Files, Failure> {
    let text = load::read(path)?;
    let overrides = Overrides { os: arguments.os.clone(), ..Overrides::default() };
    let generated = generate::spec_of_answer_file(path, &text, &overrides, catalogue)?;
    for note in &generated.notes {
        _ = writeln!(std::io::stderr(), "{note}");
    }
    let mut files = vec![(format!("{}.toml", generate::name_of(path)), generated.text)];
    // The spec names the answer file by its place beside it.
    let here = arguments.dir.canonicalize_utf8().unwrap_or_else(|_| arguments.dir.clone());
    let there = path.canonicalize_utf8().ok().and_then(|it| it.parent().map(Utf8PathBuf::from));
    if there.as_deref() != Some(here.as_path()) {
        files.push((path.file_name().unwrap_or("answers").to_owned(), text));
    }
    Ok(files)
}

/// The built-in spec of a system where there is one, else the least that works.
fn for_os(id: &str, catalogue: &Catalogue) -> Result<Files, Failure> {
    let os: std::sync::Arc<Os> =
        catalogue.get(id).ok_or_else(|| load::unknown_os(id, catalogue))?;
    let built_in = os.template.clone().and_then(|it| Some((templates::built_in(&it)?, it)));
    let (text, template) = built_in.ok_or_else(|| {
        Failure::usage(Plain::new(
            format!("there is no built-in answer file for {}", os.title),
            format!("write one, and run `imgbuild init {id} --from FILE`"),
        ))
    })?;
    let local = format!("{}.{}", os.id, extension(&template));
    if let Some(spec) = templates::built_in_spec(&os.id) {
        // Its first lines say how to use it from the folder it comes from.
        let spec = spec.replace(&template, &local).replace("specs/", "");
        return Ok(vec![(format!("{}.toml", os.id), spec), (local, text.to_owned())]);
    }
    let source = source(&os);
    let spec = generate::spec_text(
        &os.id,
        &os,
        &source,
        &Answer::Template(local.clone()),
        Some(VARIABLES),
    );
    Ok(vec![(format!("{}.toml", os.id), spec), (local, text.to_owned())])
}

/// What most people want of an image beside the system itself.
const VARIABLES: &str = "\
[variables.ssh_authorized_keys]
description = \"Public keys that root can log in with\"
type = \"list\"
default = []

[variables.packages]
description = \"Packages beside the base system\"
type = \"list\"
default = []

";

/// Where the installer comes from, for a system whose tree the catalogue cannot
/// know; nothing where it can.
fn source(os: &Os) -> String {
    let quoted = |it: &str| toml::Value::from(it).to_string();
    if os.tree_url(Arch::default()).is_some() {
        return String::new();
    }
    if let Some(file) = os.iso_file(Arch::default()) {
        return format!(
            "# The installer is on the ISO: put it beside this file, or give its URL.\n\
             [source.iso]\nlocation = {}\n",
            quoted(&file)
        );
    }
    format!(
        "# Its trees are not public: name your own.\n\
         [variables.tree]\n\
         description = \"URL of the install tree\"\n\
         default = {}\n\n\
         [source.tree]\nurl = \"{{{{ tree }}}}\"\n",
        quoted(&format!("http://{}.example.com/{}", os.family, os.version))
    )
}

/// `preseed.cfg.j2` keeps `cfg.j2`, so that the copy is still known as a template.
fn extension(template: &str) -> &str {
    let name = template.rsplit('/').next().unwrap_or(template);
    name.split_once('.').map_or("txt", |it| it.1)
}

fn yaml_of(text: &str) -> Result<String, Failure> {
    let value: serde_json::Value = toml::from_str(text).map_err(|it| {
        Failure::failed(Plain::new(format!("cannot write YAML: {it}"), "use TOML"))
    })?;
    serde_yaml::to_string(&value)
        .map_err(|it| Failure::failed(Plain::new(format!("cannot write YAML: {it}"), "use TOML")))
}

fn write(path: &Utf8Path, text: &str) -> Result<(), Failure> {
    let written = path
        .parent()
        .map_or(Ok(()), fs_err::create_dir_all)
        .and_then(|()| fs_err::write(path, text));
    written.map_err(|it| Failure::failed(Plain::io(format!("cannot write `{path}`"), it)))?;
    _ = writeln!(crate::ui::stdout(), "{path}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        render::{self, Extras, TemplateLoader},
        spec::{Mode, check_text, document::Syntax, variables::Inputs},
    };

    /// Files in memory, then what comes with imgbuild.
    #[derive(Debug)]
    struct Written(Files);

    impl TemplateLoader for Written {
        fn load(&self, name: &str) -> Option<String> {
            let own = self.0.iter().find(|it| it.0 == name).map(|it| it.1.clone());
            own.or_else(|| templates::built_in(name).map(str::to_owned))
        }
    }

    #[test]
    fn init_writes_a_spec_without_a_mistake_for_every_system() {
        let catalogue = Catalogue::built_in();
        for id in catalogue.ids() {
            let files = for_os(&id, &catalogue).unwrap_or_else(|_| panic!("{id}: no template"));
            assert_eq!(files[0].0, format!("{id}.toml"));
            let text = files[0].1.clone();
            let inputs = Inputs::default();
            let checked =
                check_text("x.toml", &text, Syntax::Toml, &inputs, &catalogue, Mode::Build)
                    .unwrap_or_else(|it| panic!("{id}: {:?}", miette::Report::new(it)));
            assert!(checked.warnings.is_empty(), "{id}: {:?}", checked.warnings);
            let loader: std::sync::Arc<dyn TemplateLoader> = std::sync::Arc::new(Written(files));
            let rendered = render::answer_file(&checked.build, &loader, &Extras::default())
                .unwrap_or_else(|it| panic!("{id}: {:?}", miette::Report::new(it)));
            let findings = crate::answer::check_build(&checked.build, rendered.expose());
            assert!(!findings.is_fatal(), "{id}: {findings:?}");
        }
    }
}
