//! `explain`: what a console log says, whichever tool it comes from.

use std::{
    io::{self, Read, Write as _},
    sync::Arc,
};

use camino::Utf8Path;

use super::{
    arguments::{Explain, ReportFormat},
    failure::{Failure, Plain},
    print_json,
};
use crate::console::{
    Verdict,
    explain::{Ending, Explainer, Explanation, Mark},
    knowledge::Knowledge,
};

/// `imgbuild explain`
pub(super) fn explain(arguments: &Explain) -> Result<(), Failure> {
    let knowledge = Knowledge::builtin().map_err(|errors| {
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        Failure::failed(Plain::new(first, "this is a mistake in imgbuild's console knowledge"))
    })?;
    let knowledge = Arc::new(knowledge);
    let mut explainer = Explainer::new(Arc::clone(&knowledge));
    read(&arguments.log, &mut explainer)
        .map_err(|it| Failure::usage(Plain::io(format!("cannot read `{}`", arguments.log), it)))?;
    let explanation = explainer.finish();
    if arguments.format == ReportFormat::Json {
        print_json(&explanation);
    } else {
        print(&explanation, &knowledge);
    }
    Ok(())
}

/// Has a log read piece by piece: it may be larger than the memory.
fn read(path: &Utf8Path, explainer: &mut Explainer) -> io::Result<()> {
    let mut log: Box<dyn Read> = if path == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(fs_err::File::open(path)?)
    };
    let mut piece = vec![0; 1 << 16];
    loop {
        match log.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => explainer.feed(piece.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn print(it: &Explanation, knowledge: &Knowledge) {
    let mut out = crate::ui::stdout();
    if let Some(ends) = it.installer.and_then(|it| knowledge.ends(it)) {
        _ = writeln!(out, "installer  {}", ends.title);
    }
    for reached in &it.timeline {
        _ = writeln!(
            out,
            "line {:>6}  {:<14} {}",
            reached.line_number,
            reached.phase.as_str(),
            shortened(&reached.line)
        );
    }
    let telling = |mark: &&Mark| {
        !matches!(mark.verdict, Verdict::Progress | Verdict::Harmless)
            && it.judgement.as_ref() != Some(mark)
    };
    for mark in it.marks.iter().filter(telling).take(20) {
        _ = writeln!(out, "line {:>6}  {:<14} {}", mark.line_number, "", mark.meaning);
    }
    let ending = match it.verdict {
        Ending::EndedWell => "it ended well",
        Ending::EndedBadly => "it failed",
        Ending::WaitsForInput => "it waits for an answer that nobody gives",
        Ending::Rebooted => "it was done, and then rebooted",
        Ending::Unfinished => "the log ends in the middle",
    };
    _ = writeln!(out, "\n{ending}");
    if let Some(mark) = &it.judgement {
        _ = writeln!(out, "  {}", mark.meaning);
        _ = writeln!(out, "  line {}: {}", mark.line_number, shortened(&mark.line));
        if let Some(remedy) = &mark.remedy {
            _ = writeln!(out, "  help: {remedy}");
        }
        if let Some(directive) = &mark.directive {
            _ = writeln!(out, "  answer file: {directive}");
        }
    }
}

fn shortened(line: &str) -> String {
    let mut text: String = line.chars().take(160).collect();
    if text.len() < line.len() {
        text.push_str(" ...");
    }
    text
}
