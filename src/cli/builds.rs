//! The builds of specs: all of a matrix, or those that `--only` names, prepared
//! before the first of them runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    Surroundings,
    arguments::{Build as BuildArguments, Overrides, SpecArguments, Values},
    cloud, destination,
    failure::{self, Failure, Plain, Status},
    load::{self, Loaded},
    mend,
    prepare::{self, Prepared},
};
use crate::{
    model::{Build, Target},
    runner::manifest,
    spec::{
        Mode,
        document::{Document, Syntax},
    },
};

/// What the command line names.
struct Named<'a> {
    specs: &'a [Utf8PathBuf],
    values: &'a Values,
    overrides: &'a Overrides,
    only: &'a [String],
    fix: bool,
}

/// Everything that the arguments name, ready to be shown; at least one.
/// Warnings are printed, each once.
pub(super) async fn prepared(
    arguments: &SpecArguments,
    cx: &Surroundings,
) -> Result<Vec<Prepared>, Failure> {
    let SpecArguments { spec, values, overrides, only } = arguments;
    let specs = std::slice::from_ref(spec);
    prepared_of(&Named { specs, values, overrides, only, fix: false }, cx).await
}

/// Everything that is to be built, ready to run; at least one, and no two that
/// make the same. With `--fix` answer files are mended first.
pub(super) async fn to_build(
    arguments: &BuildArguments,
    cx: &Surroundings,
) -> Result<Vec<Prepared>, Failure> {
    let BuildArguments { values, overrides, only, fix, force, .. } = arguments;
    let specs = specs(&arguments.specs)?;
    let all = prepared_of(&Named { specs: &specs, values, overrides, only, fix: *fix }, cx).await?;
    refuse_the_same(&all)?;
    for prepared in &all {
        let build = prepared.loaded.build();
        if *force || !is_made(build, &prepared.inputs) {
            destination::check(build, *force)?;
        }
    }
    Ok(all)
}

async fn prepared_of(named: &Named<'_>, cx: &Surroundings) -> Result<Vec<Prepared>, Failure> {
    let catalogue = load::catalogue(&cx.home)?;
    let Named { specs, values, overrides, only, fix } = named;
    let mut all = Vec::new();
    let mut failed: Option<Failure> = None;
    for spec in *specs {
        match load::load_all(spec, values, overrides, &catalogue, Mode::Build) {
            Ok(loaded) => all.extend(loaded),
            // All mistakes are told, those of other specs as well.
            Err(failure) => {
                if let Some(before) = failed.replace(failure)
                    && let Some(report) = before.report
                {
                    failure::print(report.as_ref(), cx.colours);
                }
            }
        }
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    let all = select(all, only)?;
    if all.len() > 1 && overrides.output.is_some() {
        return Err(Failure::usage(Plain::new(
            format!("--output is one file, and {} images would be made", all.len()),
            "choose one with `--only`, or set `target.file.path` in the spec",
        )));
    }
    if *fix {
        mend::builds(&all, &catalogue)?;
    }
    for note in all.iter().flat_map(|it| &it.worked_out) {
        _ = writeln!(std::io::stderr(), "{note}");
    }
    let mut ready = Vec::new();
    for loaded in all {
        ready.push(prepare::prepare(loaded, cx).await?);
    }
    // A variable that only some of a spec's builds use is used.
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for prepared in &ready {
        let of_spec = used.entry(prepared.loaded.checked.document.name.clone()).or_default();
        of_spec.extend(prepared.rendered.used.iter().cloned());
    }
    for prepared in &ready {
        let checked = &prepared.loaded.checked;
        let used = used.remove(&checked.document.name);
        load::print_warnings(checked, used.as_ref(), cx.colours);
    }
    Ok(ready)
}

/// The files that are meant: of a folder its specs, in order of their names.
pub(super) fn specs(named: &[Utf8PathBuf]) -> Result<Vec<Utf8PathBuf>, Failure> {
    let mut all: Vec<Utf8PathBuf> = Vec::new();
    for path in named {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let found = specs_in(path)?;
        if found.is_empty() {
            return Err(Failure::usage(Plain::new(
                format!("there is no spec in the folder `{path}`"),
                "a spec ends in .toml, .yaml or .yml and says `version`",
            )));
        }
        all.extend(found);
    }
    Ok(all)
}

fn specs_in(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, Failure> {
    let entries = folder.read_dir_utf8().map_err(|source| {
        Failure::usage(Plain::io(format!("cannot read the folder `{folder}`"), source))
    })?;
    let mut files: Vec<Utf8PathBuf> = entries
        .filter_map(Result::ok)
        .map(|it| it.path().to_owned())
        .filter(|it| Syntax::of_file_name(it.as_str()).is_some() && it.is_file())
        .collect();
    files.sort();
    let mut specs = Vec::new();
    for path in files {
        if is_spec(&path, &load::read(&path)?) {
            specs.push(path);
        }
    }
    Ok(specs)
}

/// Whether a file is a spec and not a part of one, a file of values or an answer
/// file: it says `version`. One that cannot be read is taken for one, and its
/// mistakes are told.
fn is_spec(path: &Utf8Path, text: &str) -> bool {
    let Some(syntax) = Syntax::of_file_name(path.as_str()) else { return false };
    if super::generate::is_answer_file(text) {
        return false;
    }
    Document::parse(path.as_str(), text, syntax).map_or(true, |it| it.find(&["version"]).is_some())
}

/// Refuses builds of which one would replace what another has made.
fn refuse_the_same(all: &[Prepared]) -> Result<(), Failure> {
    let mut seen: BTreeMap<String, &Prepared> = BTreeMap::new();
    for prepared in all {
        let product = product(prepared.loaded.build());
        let Some(other) = seen.insert(product.clone(), prepared) else { continue };
        let spec = |it: &Prepared| it.loaded.checked.document.name.clone();
        return Err(Failure::usage(Plain::new(
            format!(
                "two builds make {product}: `{}` of {} and `{}` of {}",
                other.plan.name,
                spec(other),
                prepared.plan.name,
                spec(prepared)
            ),
            "give each a target of its own, or choose with `--only`",
        )));
    }
    Ok(())
}

/// Whether the file was made of the same inputs, so that nothing will be written.
fn is_made(build: &Build, inputs: &str) -> bool {
    let Target::File(target) = &build.target else { return false };
    manifest::of(&target.path).is_some_and(|it| it.inputs == inputs)
}

/// What a build makes, for people; two that make the same say the same.
fn product(build: &Build) -> String {
    let cloud = cloud::settings(build).and_then(|it| it.cloud.clone());
    let place = cloud.map(|it| format!(" in the cloud `{it}`")).unwrap_or_default();
    match &build.target {
        Target::File(it) => format!("the file `{}`", plain_path(&it.path)),
        Target::Glance(it) => format!("the image `{}`{place}", it.name),
        Target::Volume(it) => match &it.image {
            Some(image) => {
                format!("the volume snapshot `{}` and the image `{}`{place}", it.name, image.name)
            }
            None => format!("the volume snapshot `{}`{place}", it.name),
        },
    }
}

/// The path without links and `..` on the way, also of a file that is not there.
fn plain_path(path: &Utf8Path) -> Utf8PathBuf {
    let folder = path.parent().filter(|it| !it.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    match (folder.canonicalize_utf8(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

/// The worse of two ends, as `imgbuild --help` says.
pub(super) fn worse(a: Status, b: Status) -> Status {
    let badness = |it: Status| match it {
        Status::Failed => 0,
        Status::Usage => 1,
        Status::Invalid => 2,
        Status::Interrupted => 3,
        Status::LeftBehind => 4,
    };
    if badness(a) >= badness(b) { a } else { b }
}

/// The builds that `--only` names: of one axis any of the values, of different
/// axes all of them.
fn select(all: Vec<Loaded>, only: &[String]) -> Result<Vec<Loaded>, Failure> {
    let mut wanted: Vec<(&str, Vec<&str>)> = Vec::new();
    for text in only {
        let Some((axis, values)) = text.split_once('=') else {
            return Err(Failure::usage(Plain::new(
                format!("`--only {text}` has no value"),
                "write `--only AXIS=VALUE`, such as `--only os=rocky-9`",
            )));
        };
        let values = values.split(',').map(str::trim);
        match wanted.iter_mut().find(|it| it.0 == axis) {
            Some((_, known)) => known.extend(values),
            None => wanted.push((axis, values.collect())),
        }
    }
    let value_of = |it: &Loaded, axis: &str| match axis {
        "name" => Some(it.build().name.clone()),
        "os" => Some(it.build().os.id.clone()),
        "arch" => Some(it.build().arch.to_string()),
        _ => it.checked.chosen.iter().find(|it| it.0 == axis).map(|it| it.1.clone()),
    };
    for (axis, values) in &wanted {
        let known: BTreeSet<_> = all.iter().filter_map(|it| value_of(it, axis)).collect();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        if known.is_empty() {
            let axes: Vec<_> = all
                .first()
                .map(|it| it.checked.chosen.iter().map(|it| it.0.as_str()).collect())
                .unwrap_or_default();
            let axes: BTreeSet<&str> = ["name", "os", "arch"].into_iter().chain(axes).collect();
            let axes: Vec<_> = axes.into_iter().collect();
            return Err(Failure::usage(Plain::new(
                format!("the spec has no axis `{axis}`"),
                format!("choose by {}", axes.join(", ")),
            )));
        }
        if let Some(unknown) = values.iter().find(|it| !known.contains(*it)) {
            return Err(Failure::usage(Plain::new(
                format!("no build has `{axis}={unknown}`"),
                format!("there is {}", known.join(", ")),
            )));
        }
    }
    let is_wanted = |it: &Loaded| {
        wanted.iter().all(|(axis, values)| {
            value_of(it, axis).is_some_and(|it| values.contains(&it.as_str()))
        })
    };
    let chosen: Vec<_> = all.into_iter().filter(is_wanted).collect();
    if chosen.is_empty() {
        return Err(Failure::usage(Plain::new(
            "no build of the matrix is like that",
            "the matrix excludes it; `imgbuild plan` shows all there are",
        )));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_folder_only_specs_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        for (name, text) in [
            ("b.toml", "version = 1\nname = \"b\"\n"),
            ("a.yaml", "version: 1\n"),
            ("common.toml", "[install]\ndisk = \"4 GiB\"\n"),
            ("values.yml", "mirror: http://example.org\n"),
            ("user-data.yaml", "#cloud-config\nversion: 1\n"),
            ("broken.toml", "version = \n"),
            ("notes.md", "version = 1\n"),
        ] {
            fs_err::write(folder.join(name), text).unwrap();
        }
        fs_err::create_dir(folder.join("parts.toml")).unwrap();
        let found = specs_in(folder).unwrap();
        let names: Vec<_> = found.iter().filter_map(|it| it.file_name()).collect();
        assert_eq!(names, ["a.yaml", "b.toml", "broken.toml"]);
    }

    #[test]
    fn the_same_file_by_two_names_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        fs_err::create_dir(folder.join("in")).unwrap();
        let path = |it: &str| plain_path(&folder.join(it));
        assert_eq!(path("a.qcow2"), path("in/../a.qcow2"));
        assert_ne!(path("a.qcow2"), path("in/a.qcow2"));
        assert_eq!(plain_path("none/here/a".into()), "none/here/a");
    }

    #[test]
    fn the_worst_end_counts() {
        use Status::{Failed, Interrupted, Invalid, LeftBehind, Usage};
        let order = [Failed, Usage, Invalid, Interrupted, LeftBehind];
        for pair in order.windows(2) {
            assert_eq!(worse(pair[0], pair[1]), pair[1]);
            assert_eq!(worse(pair[1], pair[0]), pair[1]);
        }
    }
}
