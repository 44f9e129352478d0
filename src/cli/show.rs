//! `render` and `plan`: what a build would be, without building it.

use std::io::Write as _;

use super::{
    Surroundings,
    arguments::{Plan, Render, ReportFormat},
    builds, cloud, doctor,
    failure::{Failure, Plain},
    prepare::{self, Prepared},
    print_json,
};
use crate::{
    engine::Teller,
    model::{Build, Target},
    platform::Check,
    runner::manifest,
    source::{self, Survey},
    units::Size,
};

/// `imgbuild render`
pub(super) async fn render(arguments: &Render, cx: &Surroundings) -> Result<(), Failure> {
    let all = builds::prepared(&arguments.spec, cx).await?;
    if arguments.answer {
        let [prepared] = all.as_slice() else {
            return Err(Failure::usage(Plain::new(
                format!("--answer is for one build, and there are {}", all.len()),
                "choose one of them with `--only`",
            )));
        };
        _ = writeln!(crate::ui::stdout(), "{}", prepared.rendered.masked.trim_end());
        return prepared.print_findings(cx.colours);
    }
    for prepared in &all {
        if all.len() > 1 {
            _ = writeln!(crate::ui::stdout(), "# build: {}", prepared.plan.name);
        }
        render_one(prepared, cx)?;
    }
    Ok(())
}

fn render_one(prepared: &Prepared, cx: &Surroundings) -> Result<(), Failure> {
    let build = prepared.loaded.build();
    let mut out = crate::ui::stdout();
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
    prepared.print_findings(cx.colours)
}

/// `imgbuild plan`
pub(super) async fn plan(arguments: &Plan, cx: &Surroundings) -> Result<(), Failure> {
    let all = builds::prepared(&arguments.spec, cx).await?;
    let mut documents = Vec::new();
    for (i, prepared) in all.iter().enumerate() {
        if arguments.format == ReportFormat::Json {
            documents.push(document_of(prepared, cx, arguments.offline).await);
            continue;
        }
        if all.len() > 1 {
            let gap = if i == 0 { "" } else { "\n" };
            let name = &prepared.plan.name;
            _ = writeln!(crate::ui::stdout(), "{gap}# build {} of {}: {name}", i + 1, all.len());
        }
        print_one(prepared, cx, arguments.offline).await?;
    }
    if let [document] = documents.as_slice() {
        print_json(document);
    } else if !documents.is_empty() {
        print_json(&documents);
    }
    Ok(())
}

/// What there is already, and what a cloud says of the build.
#[derive(Default)]
struct Outlook {
    /// Whether the image is there and was made of the same inputs.
    is_current: bool,
    checks: Vec<Check>,
    /// Why the cloud could not be asked.
    problem: Option<String>,
}

async fn outlook(prepared: &Prepared, offline: bool) -> Outlook {
    let build = prepared.loaded.build();
    if let Target::File(target) = &build.target {
        let manifest = manifest::of(&target.path);
        let is_current = manifest.is_some_and(|it| it.inputs == prepared.inputs);
        return Outlook { is_current, ..Outlook::default() };
    }
    if offline {
        return Outlook { problem: Some("not asked (--offline)".into()), ..Outlook::default() };
    }
    let length = prepared.rendered.expose().len();
    match cloud::outlook(build, length, &prepared.inputs).await {
        Ok((checks, product)) => Outlook { is_current: product.is_some(), checks, problem: None },
        Err(failure) => {
            let said = |it: Box<dyn miette::Diagnostic + Send + Sync>| match it.help() {
                Some(help) => format!("{it}; {help}"),
                None => it.to_string(),
            };
            let problem = failure.report.map(said).unwrap_or_default();
            Outlook { problem: Some(problem), ..Outlook::default() }
        }
    }
}

async fn document_of(prepared: &Prepared, cx: &Surroundings, offline: bool) -> serde_json::Value {
    let survey = survey(prepared.loaded.build(), cx, offline).await;
    let outlook = outlook(prepared, offline).await;
    serde_json::json!({
        "plan": prepared.plan,
        "inputs": prepared.inputs,
        "nothing-changed": outlook.is_current,
        "checks": outlook.checks,
        "fetch": survey.files.iter().map(|it| serde_json::json!({
            "what": it.what, "url": it.url, "cached": it.is_cached, "bytes": it.bytes,
        })).collect::<Vec<_>>(),
        "notes": survey.notes,
    })
}

async fn print_one(prepared: &Prepared, cx: &Surroundings, offline: bool) -> Result<(), Failure> {
    let survey = survey(prepared.loaded.build(), cx, offline).await;
    let outlook = outlook(prepared, offline).await;
    let mut out = crate::ui::stdout();
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
    if !outlook.checks.is_empty() || outlook.problem.is_some() {
        _ = writeln!(out, "\nthe cloud:");
        doctor::print_to(&outlook.checks, &mut out);
    }
    if let Some(problem) = &outlook.problem {
        _ = writeln!(out, "      {}", prepared.redactor.mask(problem));
    }
    _ = writeln!(out, "\ninputs {}", prepared.inputs);
    if outlook.is_current {
        _ = writeln!(
            out,
            "nothing has changed since the image was built; `build` would do nothing"
        );
    }
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
