//! `validate` and `lint`: every mistake in every file, each at its line.

use std::io::Write as _;

use camino::Utf8Path;

use super::{
    Surroundings,
    arguments::{Lint, Overrides, ReportFormat, Validate},
    builds,
    failure::{self, Failure, Status},
    load::{self, Loaded},
    mend, prepare, print_json,
    validators::{self, Request, Verdict},
};
use crate::{
    answer,
    catalogue::Catalogue,
    installer,
    redact::Redactor,
    render::{self, Extras},
    spec::{Mode, Report, SpecErrors},
};

/// `imgbuild validate`
pub(super) async fn validate(arguments: &Validate, cx: &Surroundings) -> Result<(), Failure> {
    let catalogue = load::catalogue(&cx.home)?;
    let mut reports = Vec::new();
    let mut n_wrong = 0;
    for path in &builds::specs(&arguments.specs)? {
        let mut sink =
            Sink { format: arguments.format, colours: cx.colours, reports: &mut reports };
        match validate_one(path, arguments, &catalogue, &mut sink, cx).await {
            Some(how) if arguments.format == ReportFormat::Human => {
                let how = if how.is_empty() { how } else { format!(" ({how})") };
                _ = writeln!(crate::ui::stdout(), "{path}: valid{how}");
            }
            Some(_) => {}
            None => n_wrong += 1,
        }
    }
    if arguments.format == ReportFormat::Json {
        print_json(&reports);
    }
    if n_wrong > 0 { Err(Failure::silent(Status::Invalid)) } else { Ok(()) }
}

/// Where mistakes go: to people at once, or into one JSON document.
struct Sink<'a> {
    format: ReportFormat,
    colours: bool,
    reports: &'a mut Vec<Report>,
}

impl Sink<'_> {
    fn failure(&mut self, failure: &Failure, path: &Utf8Path) {
        let Some(report) = &failure.report else { return };
        match self.format {
            ReportFormat::Human => failure::print(report.as_ref(), self.colours),
            ReportFormat::Json => {
                self.reports.extend(reports_of(report.as_ref(), path));
            }
        }
    }
}

/// Checks one spec with all its builds. Of one without a mistake it returns who
/// checked it.
async fn validate_one(
    path: &Utf8Path,
    arguments: &Validate,
    catalogue: &Catalogue,
    sink: &mut Sink<'_>,
    cx: &Surroundings,
) -> Option<String> {
    let overrides = Overrides { source: arguments.source.clone(), ..Overrides::default() };
    let all = load::load_all(path, &arguments.values, &overrides, catalogue, Mode::Validate);
    let all = match all {
        Ok(all) => all,
        Err(failure) => {
            sink.failure(&failure, path);
            return None;
        }
    };
    if arguments.fix
        && let Err(failure) = mend::builds(&all, catalogue)
    {
        sink.failure(&failure, path);
        return None;
    }
    let mut is_right = true;
    // What an answer file that cannot be rendered uses is not known.
    let mut is_known = true;
    let mut used = std::collections::BTreeSet::new();
    let mut answers = Vec::new();
    let mut verdicts = std::collections::BTreeSet::new();
    for loaded in &all {
        match check_answers(loaded) {
            Ok((mut findings, rendered)) => {
                if arguments.validators {
                    let os = &loaded.build().os;
                    let redactor = prepare::redactor(loaded.build(), &rendered);
                    let request = Request {
                        dialect: Some(os.dialect),
                        os: Some(os),
                        text: rendered.expose(),
                        redactor: &redactor,
                    };
                    let verdict = validators::decide(&mut findings, &request, cx).await;
                    verdicts.insert(verdict.text());
                }
                is_right &= !findings.is_fatal();
                used.extend(rendered.used.iter().cloned());
                answers.push((loaded, (findings, rendered.masked)));
            }
            Err(failure) => {
                sink.failure(&failure, path);
                is_right = false;
                is_known = false;
            }
        }
    }
    // What several builds of a matrix have in common is said once.
    let mut said = std::collections::BTreeSet::new();
    for (i, (loaded, (findings, text))) in answers.into_iter().enumerate() {
        let used = (i == 0 && is_known).then_some(&used);
        let name = prepare::answer_name(loaded.build());
        let report = findings.report(&name, &text).filter(|_| said.insert((name.clone(), text)));
        match sink.format {
            ReportFormat::Human => {
                load::print_warnings(&loaded.checked, used, sink.colours);
                if let Some(report) = report {
                    failure::print(&report, sink.colours);
                }
            }
            ReportFormat::Json => {
                let mut warnings = loaded.checked.warnings.clone();
                warnings
                    .extend(used.map(|it| loaded.checked.unused_variables(it)).unwrap_or_default());
                sink.reports
                    .extend(SpecErrors::of_warnings(&loaded.checked.document, warnings).reports());
                if let Some(report) = report {
                    sink.reports.extend(reports_of(&report, path));
                }
            }
        }
    }
    let mut text = match all.len() {
        1 => String::new(),
        n => format!("{n} builds; "),
    };
    text.push_str(&verdicts.into_iter().collect::<Vec<_>>().join(", "));
    is_right.then_some(text)
}

type Answers = (answer::Findings, render::Rendered);

/// Renders the answer file and checks it, as `build` would.
fn check_answers(loaded: &Loaded) -> Result<Answers, Failure> {
    let rendered =
        loaded.render(&Extras { ssh_public_key: Some("ssh-ed25519 AAAA".to_owned()) })?;
    let build = loaded.build();
    installer::kernel_command_line(build, &installer::context(build)).map_err(Failure::invalid)?;
    let findings = answer::check_build(build, rendered.expose());
    Ok((findings, rendered))
}

/// A diagnostic and those it is made of, for programs.
fn reports_of(error: &dyn miette::Diagnostic, path: &Utf8Path) -> Vec<Report> {
    let place = |it: &dyn miette::Diagnostic| {
        let span = *it.labels()?.next()?.inner();
        let contents = it.source_code().or(error.source_code())?.read_span(&span, 0, 0).ok()?;
        Some((contents.name().map(str::to_owned), contents.line() + 1, contents.column() + 1))
    };
    let one = |it: &dyn miette::Diagnostic| {
        let place = place(it);
        Report {
            severity: match it.severity() {
                Some(miette::Severity::Warning | miette::Severity::Advice) => "warning",
                _ => "error",
            },
            code: it.code().map(|it| it.to_string()).unwrap_or_default(),
            file: place.as_ref().and_then(|it| it.0.clone()).unwrap_or_else(|| path.to_string()),
            line: place.as_ref().map(|it| it.1),
            column: place.as_ref().map(|it| it.2),
            message: it.to_string(),
            help: it.help().map(|it| it.to_string()),
        }
    };
    let parts: Vec<Report> = error.related().into_iter().flatten().map(one).collect();
    if parts.is_empty() { vec![one(error)] } else { parts }
}

/// Of more files than these the host's validators, which take 50 to 300 ms each,
/// are asked on demand only.
const MOST_ASKED: usize = 16;

/// `imgbuild lint`
pub(super) async fn lint(arguments: &Lint, cx: &Surroundings) -> Result<(), Failure> {
    let catalogue = load::catalogue(&cx.home)?;
    let mut reports = Vec::new();
    let mut is_wrong = false;
    let asks = arguments.validators || (!arguments.built_in && arguments.files.len() <= MOST_ASKED);
    if !asks && !arguments.built_in {
        _ = writeln!(
            std::io::stderr(),
            "more than {MOST_ASKED} files: the built-in rules alone decide, --validators asks \
             this machine's validators too"
        );
    }
    for path in &arguments.files {
        if arguments.fix && path == load::STANDARD_INPUT {
            return Err(mend::no_file());
        }
        let mut text = load::read(path)?;
        let mut inspection = answer::inspect(path.as_str(), &text, &catalogue);
        let id = arguments.os.clone().or_else(|| inspection.os_id());
        let os = match id {
            Some(id) => Some(catalogue.get(&id).ok_or_else(|| load::unknown_os(&id, &catalogue))?),
            None => None,
        };
        if arguments.fix {
            mend::file(path, os.as_deref(), &catalogue)?;
            text = load::read(path)?;
            inspection = answer::inspect(path.as_str(), &text, &catalogue);
        }
        let mut findings = answer::lint(&inspection, os.as_deref(), &text);
        let mut verdict = Verdict::BuiltIn;
        if asks {
            let request = Request {
                dialect: inspection.dialect,
                os: os.as_deref(),
                text: &text,
                redactor: &Redactor::new(&[]),
            };
            verdict = validators::decide(&mut findings, &request, cx).await;
        }
        let verdict = verdict.text();
        is_wrong |= findings.is_fatal();
        match (arguments.format, findings.report(path.as_str(), &text)) {
            (ReportFormat::Human, Some(report)) => {
                failure::print(&report, cx.colours);
                _ = writeln!(std::io::stderr(), "{path}: {verdict}");
            }
            (ReportFormat::Human, None) => {
                let os = os.map_or_else(|| "no release known".to_owned(), |it| it.id.clone());
                _ = writeln!(crate::ui::stdout(), "{path}: no mistakes ({os}; {verdict})");
            }
            (ReportFormat::Json, Some(report)) => reports.extend(reports_of(&report, path)),
            (ReportFormat::Json, None) => {}
        }
    }
    if arguments.format == ReportFormat::Json {
        print_json(&reports);
    }
    if is_wrong { Err(Failure::silent(Status::Invalid)) } else { Ok(()) }
}
