//! The builds of a spec: all of a matrix, or those that `--only` names, prepared
//! before the first of them runs.

use std::{collections::BTreeSet, io::Write as _};

use super::{
    Surroundings,
    arguments::SpecArguments,
    failure::{Failure, Plain},
    load::{self, Loaded},
    mend,
    prepare::{self, Prepared},
};
use crate::spec::Mode;

/// Everything that the arguments name, ready to be shown or run; at least one.
/// Warnings are printed, each once. With `fix` answer files are mended first.
pub(super) async fn prepared(
    arguments: &SpecArguments,
    fix: bool,
    cx: &Surroundings,
) -> Result<Vec<Prepared>, Failure> {
    let catalogue = load::catalogue(&cx.home)?;
    let SpecArguments { spec, values, overrides, only } = arguments;
    let all = load::load_all(spec, values, overrides, &catalogue, Mode::Build)?;
    let all = select(all, only)?;
    if all.len() > 1 && overrides.output.is_some() {
        return Err(Failure::usage(Plain::new(
            format!("--output is one file, and the spec makes {} images", all.len()),
            "choose one with `--only`, or set `target.file.path` in the spec",
        )));
    }
    if fix {
        mend::builds(&all, &catalogue)?;
    }
    for note in all.iter().flat_map(|it| &it.worked_out) {
        _ = writeln!(std::io::stderr(), "{note}");
    }
    let mut ready = Vec::new();
    for loaded in all {
        ready.push(prepare::prepare(loaded, cx).await?);
    }
    let used: BTreeSet<_> = ready.iter().flat_map(|it| it.rendered.used.iter().cloned()).collect();
    for (i, prepared) in ready.iter().enumerate() {
        load::print_warnings(&prepared.loaded.checked, (i == 0).then_some(&used), cx.colours);
    }
    Ok(ready)
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
