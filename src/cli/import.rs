//! `import`: a spec and its answer file from what other tools describe.

use std::{io::Write as _, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    Surroundings,
    arguments::{Import, Values},
    failure::{self, Failure, Plain, Status},
    load, templates,
};
use crate::{
    answer,
    catalogue::Catalogue,
    import::{self, Context, Files, Imported},
    render::{self, Extras, TemplateLoader},
    spec::{self, Mode, document::Syntax, variables::Inputs},
};

/// `imgbuild import`
pub(super) fn import(arguments: &Import, cx: &Surroundings) -> Result<(), Failure> {
    let catalogue = load::catalogue(&cx.home)?;
    let (variables, variable_files) = values(&arguments.values)?;
    let context = |files| Context {
        catalogue: &catalogue,
        files,
        os: arguments.os.as_deref(),
        variables: &variables,
        variable_files: &variable_files,
    };
    let all = if let Some(path) = &arguments.file {
        let text = load::read(path)?;
        let folder =
            path.parent().filter(|it| !it.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
        let files = Folder(folder.to_owned());
        import::file(path.as_str(), &text, &context(&files)).map_err(Failure::invalid)?
    } else {
        let files = Folder(Utf8PathBuf::from("."));
        let made = import::command(&arguments.command, &context(&files));
        vec![made.map_err(Failure::invalid)?]
    };
    let n_all = all.len();
    let mut right = Vec::new();
    for imported in all {
        if check(&imported, &catalogue, cx)? {
            right.push(imported);
        }
    }
    if right.is_empty() && n_all > 0 {
        return Err(Failure::silent(Status::Invalid));
    }
    write(&right, &arguments.output, arguments.force)
}

/// The folder that something is imported from. What it names may be anywhere
/// below it or below the working directory, as Packer's own paths are, and
/// nowhere else.
struct Folder(Utf8PathBuf);

impl Files for Folder {
    fn read(&self, path: &str) -> Option<String> {
        let folder = self.0.canonicalize_utf8().ok()?;
        let here = Utf8Path::new(".").canonicalize_utf8().ok()?;
        [&folder, &here].into_iter().find_map(|start| {
            let path = start.join(path).canonicalize_utf8().ok()?;
            // A command line's paths are the user's own words.
            let is_own = self.0 == "." || path.starts_with(&folder) || path.starts_with(&here);
            is_own.then(|| fs_err::read_to_string(path).ok()).flatten()
        })
    }

    fn names(&self) -> Vec<String> {
        let entries = fs_err::read_dir(&self.0).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|it| it.file_name().into_string().ok()).collect()
    }
}

type Pairs = Vec<(String, String)>;

fn values(values: &Values) -> Result<(Pairs, Pairs), Failure> {
    let mut variables = Vec::new();
    for text in &values.variables {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            Failure::usage(Plain::new("`-v` without a name and a value", "write `-v name=value`"))
        })?;
        variables.push((name.to_owned(), value.to_owned()));
    }
    let mut files = Vec::new();
    for path in &values.var_file {
        files.push((path.to_string(), load::read(path)?));
    }
    Ok((variables, files))
}

/// Whether a spec is right, as `imgbuild validate` has it; says what is not.
fn check(imported: &Imported, catalogue: &Catalogue, cx: &Surroundings) -> Result<bool, Failure> {
    let name = format!("{}.toml", imported.name);
    let inputs = Inputs::default();
    let checked =
        spec::check_text(&name, &imported.spec, Syntax::Toml, &inputs, catalogue, Mode::Validate)
            .map_err(Failure::invalid)?;
    let loader: Arc<dyn TemplateLoader> = Arc::new(Made(imported.files.clone()));
    let extras = Extras { ssh_public_key: None };
    let rendered =
        render::answer_file(&checked.build, &loader, &extras).map_err(Failure::invalid)?;
    let findings = answer::check_build(&checked.build, rendered.expose());
    if findings.is_fatal() {
        let file = imported.files.first().map_or("the answer file", |it| it.0.as_str());
        if let Some(report) = findings.report(file, &rendered.masked) {
            failure::print(&report, cx.colours);
        }
        _ = writeln!(
            std::io::stderr(),
            "no spec is written for `{}`: its answer file would not install unattended",
            imported.name
        );
    }
    Ok(!findings.is_fatal())
}

/// Files that are not written yet, then the built-in ones.
struct Made(Pairs);

impl TemplateLoader for Made {
    fn load(&self, name: &str) -> Option<String> {
        let own = self.0.iter().find(|it| it.0 == name).map(|it| it.1.clone());
        own.or_else(|| templates::built_in(name).map(str::to_owned))
    }
}

fn write(all: &[Imported], folder: &Utf8Path, force: bool) -> Result<(), Failure> {
    let mut files: Pairs = Vec::new();
    for imported in all {
        let spec = (format!("{}.toml", imported.name), imported.spec.clone());
        for (name, text) in std::iter::once(&spec).chain(&imported.files) {
            match files.iter().find(|it| it.0 == *name) {
                Some(other) if other.1 != *text => {
                    return Err(Failure::invalid(Plain::new(
                        format!("two builds need different files called `{name}`"),
                        "import them from templates of their own",
                    )));
                }
                Some(_) => {}
                None => files.push((name.clone(), text.clone())),
            }
        }
    }
    // Nothing is written unless everything can be.
    for (name, _) in &files {
        let path = folder.join(name);
        if path.exists() && !force {
            return Err(Failure::usage(Plain::new(
                format!("`{path}` is there already"),
                "--force replaces it, -o names another folder",
            )));
        }
    }
    let written = fs_err::create_dir_all(folder).and_then(|()| {
        files.iter().try_for_each(|(name, text)| fs_err::write(folder.join(name), text))
    });
    written.map_err(|it| Failure::failed(Plain::io(format!("cannot write to `{folder}`"), it)))?;
    for imported in all {
        for note in &imported.notes {
            _ = writeln!(std::io::stderr(), "{}: {note}", imported.name);
        }
    }
    for (name, _) in &files {
        _ = writeln!(crate::ui::stdout(), "{}", folder.join(name));
    }
    Ok(())
}
