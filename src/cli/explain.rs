//! `explain`: what a console log says, whichever tool it comes from.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};

use super::{
    arguments::{Explain, ReportFormat},
    failure::{Failure, Plain},
    print_json,
};
use crate::console::{
    Verdict,
    explain::{Ending, Explanation, Mark, explain as explained},
    knowledge::Knowledge,
};

/// `imgbuild explain`
pub(super) fn explain(arguments: &Explain) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    let read = if arguments.log == "-" {
        std::io::stdin().read_to_end(&mut bytes)
    } else {
        fs_err::File::open(&arguments.log).and_then(|mut it| it.read_to_end(&mut bytes))
    };
    read.map_err(|it| Failure::usage(Plain::io(format!("cannot read `{}`", arguments.log), it)))?;
    let knowledge = Knowledge::builtin().map_err(|errors| {
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        Failure::failed(Plain::new(first, "this is a mistake in imgbuild's console knowledge"))
    })?;
    let knowledge = Arc::new(knowledge);
    let explanation = explained(&bytes, &knowledge);
    if arguments.format == ReportFormat::Json {
        print_json(&explanation);
    } else {
        print(&explanation, &knowledge);
    }
    Ok(())
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
