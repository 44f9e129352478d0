//! `render` and `plan`: what a build would be, without building it.

use std::io::Write as _;

use super::{
    Surroundings,
    arguments::{Plan, ReportFormat, SpecArguments},
    failure::Failure,
    load,
    prepare::{self, Prepared},
    print_json,
};
use crate::{
    engine::Teller,
    model::{Build, Target},
    runner::manifest,
    source::{self, Survey},
    spec::Mode,
    units::Size,
};

async fn prepared(arguments: &SpecArguments, cx: &Surroundings) -> Result<Prepared, Failure> {
    let catalogue = load::catalogue(&cx.home)?;
    let loaded = load::load(
        &arguments.spec,
        &arguments.values,
        &arguments.overrides,
        &catalogue,
        Mode::Build,
    )?;
    for note in &loaded.worked_out {
        _ = writeln!(std::io::stderr(), "{note}");
    }
    let prepared = prepare::prepare(loaded, cx).await?;
    load::print_warnings(&prepared.loaded.checked, &prepared.rendered.used, cx.colours);
    Ok(prepared)
}

/// `imgbuild render`
pub(super) async fn render(arguments: &SpecArguments, cx: &Surroundings) -> Result<(), Failure> {
    let prepared = prepared(arguments, cx).await?;
    let build = prepared.loaded.build();
    let mut out = std::io::stdout().lock();
    let mask = |text: &str| prepared.redactor.mask(text);
    _ = writeln!(out, "# answer file: {}", prepare::answer_name(build));
    _ = writeln!(out, "{}", prepared.rendered.masked.trim_end());
    _ = writeln!(out, "\n# kernel command line");
    _ = writeln!(out, "{}", mask(&prepared.command_line.text()));
    for (name, text) in
        crate::media::boot_disk::configuration(build.arch, &prepared.command_line.text())
    {
        _ = writeln!(out, "\n# boot disk: {name}\n{}", mask(text.trim_end()));
    }
    drop(out);
    prepared.print_findings(cx.colours)
}

/// `imgbuild plan`
pub(super) async fn plan(arguments: &Plan, cx: &Surroundings) -> Result<(), Failure> {
    let prepared = prepared(&arguments.spec, cx).await?;
    let build = prepared.loaded.build();
    let current = match &build.target {
        Target::File(target) => {
            manifest::of(&target.path).is_some_and(|it| it.inputs == prepared.inputs)
        }
        _ => false,
    };
    let survey = survey(build, cx, arguments.offline).await;
    if arguments.format == ReportFormat::Json {
        print_json(&serde_json::json!({
            "plan": prepared.plan, "inputs": prepared.inputs, "nothing-changed": current,
            "fetch": survey.files.iter().map(|it| serde_json::json!({
                "what": it.what, "url": it.url, "cached": it.is_cached, "bytes": it.bytes,
            })).collect::<Vec<_>>(),
            "notes": survey.notes,
        }));
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{}", prepared.redactor.mask(&prepared.plan.to_string()).trim_end());
    _ = writeln!(out, "\nto fetch:");
    for file in &survey.files {
        let state = if file.is_cached {
            "cached".to_owned()
        } else {
            file.bytes.map_or_else(|| "size not known".to_owned(), |it| Size::bytes(it).to_string())
        };
        _ = writeln!(out, "      {state:<16} {}", prepared.redactor.mask(&file.url));
    }
    for note in &survey.notes {
        _ = writeln!(out, "      {}", prepared.redactor.mask(note));
    }
    _ = writeln!(out, "\ninputs {}", prepared.inputs);
    if current {
        _ = writeln!(
            out,
            "nothing has changed since the image was built; `build` would do nothing"
        );
    }
    drop(out);
    prepared.print_findings(cx.colours)
}

async fn survey(build: &Build, cx: &Surroundings, offline: bool) -> Survey {
    if offline {
        let notes = vec!["not looked up (--offline)".to_owned()];
        return Survey { notes, ..Survey::default() };
    }
    let cache = source::Cache::new(cx.home.cache.clone());
    let cancel = crate::CancellationToken::new();
    match source::FetchCx::new(cx.guard.clone(), Teller::default(), cancel) {
        Ok(fetch) => {
            let source = build.source.revealed(&build.variables);
            source::survey(&source, &build.os, build.arch, &cache, &fetch).await
        }
        Err(error) => Survey { notes: vec![error.to_string()], ..Survey::default() },
    }
}
