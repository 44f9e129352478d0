//! `report.html`: one self-contained file that tells the story of a run.
//!
//! It needs no network and no other file: pictures are part of it, and there is
//! no script in it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use minijinja::{Environment, Value, value::Serde};
use serde::Serialize;

use crate::units::{Size, Span};

const TEMPLATE: &str = include_str!("../../data/report.html.j2");
/// Lines of a console that are kept at its beginning and its end.
const CONSOLE_LINES: usize = 2000;

/// The story of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The image's name.
    pub name: String,
    /// `succeeded`, `failed`, `interrupted`.
    pub outcome: String,
    /// The operating system.
    pub os: String,
    /// The processor architecture.
    pub arch: String,
    /// The run's ID.
    pub run: String,
    /// When it ended.
    pub finished: String,
    /// The version of imgbuild.
    pub imgbuild: String,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The stages.
    pub stages: Vec<Bar>,
    /// The phases of the installer.
    pub phases: Vec<Bar>,
    /// What was fetched, read, written and carried, in bytes.
    pub bytes: Vec<Bar>,
    /// Requests of the guest that did not get what they asked for.
    pub requests: Vec<Request>,
    /// What was checked on the result.
    pub checks: Vec<Check>,
    /// Inputs, digests, sizes.
    pub facts: Vec<Fact>,
    /// Screenshots.
    pub pictures: Vec<Picture>,
    /// Serial consoles.
    pub consoles: Vec<Console>,
}

/// Why a run failed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Failure {
    /// What happened.
    pub message: String,
    /// What lies beneath.
    pub causes: Vec<String>,
    /// The line of the console that says so.
    pub line: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// Something that took time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Bar {
    /// What.
    pub name: String,
    /// When it began.
    pub at: String,
    /// How long it took.
    pub time: String,
    /// Where its bar begins, in hundredths of the whole.
    pub start: u64,
    /// How long its bar is, in hundredths of the whole.
    pub percent: u64,
    /// Whether it ended badly.
    pub is_bad: bool,
}

/// A request of the guest.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Request {
    /// What was asked for.
    pub url: String,
    /// What was answered.
    pub status: String,
}

/// Something that was checked.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// With which result.
    pub result: String,
    /// Whether it went badly.
    pub is_bad: bool,
}

/// A name and a value.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fact {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// A screenshot.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Picture {
    /// When it was taken.
    pub title: String,
    base64: String,
}

/// A serial console.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Console {
    /// Whose.
    pub title: String,
    id: String,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Line {
    text: String,
    marked: bool,
}

impl Picture {
    /// A PNG picture.
    pub fn png(title: &str, bytes: &[u8]) -> Self {
        Self { title: title.to_owned(), base64: STANDARD.encode(bytes) }
    }
}

impl Console {
    /// A console's text; the line that contains `marked` stands out. Of a very
    /// long one the middle is left out.
    pub fn new(title: &str, id: &str, text: &str, marked: Option<&str>) -> Self {
        let marked = marked.map(str::trim).filter(|it| !it.is_empty());
        let all: Vec<&str> = text.lines().collect();
        let line = |it: &&str| Line {
            text: (*it).to_owned(),
            marked: marked.is_some_and(|marked| it.contains(marked)),
        };
        let lines = if all.len() > 2 * CONSOLE_LINES {
            let left_out = all.len() - 2 * CONSOLE_LINES;
            let (head, tail) = (&all[..CONSOLE_LINES], &all[all.len() - CONSOLE_LINES..]);
            let gap = format!("... {left_out} lines are left out, console.log has them ...");
            head.iter()
                .map(line)
                .chain([Line { text: gap, marked: false }])
                .chain(tail.iter().map(line))
                .collect()
        } else {
            all.iter().map(line).collect()
        };
        Self { title: title.to_owned(), id: id.to_owned(), lines }
    }
}

/// Bars of things that ran one after another, with their milliseconds; the last
/// one may have failed.
pub fn bars_of_durations(done: &[(String, u64)], failed: Option<&(String, u64)>) -> Vec<Bar> {
    let all = || done.iter().map(|it| (it, false)).chain(failed.map(|it| (it, true)));
    let whole = all().map(|it| it.0.1).sum::<u64>().max(1);
    let mut at = 0;
    all()
        .map(|((name, millis), is_bad)| {
            let start = at;
            at += millis;
            Bar {
                name: name.clone(),
                at: Span::secs(start / 1000).to_string(),
                time: Span::secs(millis / 1000).to_string(),
                start: (start * 100 / whole).min(99),
                percent: (millis * 100 / whole).max(1),
                is_bad,
            }
        })
        .collect()
}

/// Bars of amounts of bytes; nothing is no bar.
pub fn bars_of_bytes(amounts: &[(String, u64)]) -> Vec<Bar> {
    let most = amounts.iter().map(|it| it.1).max().unwrap_or(1).max(1);
    amounts
        .iter()
        .filter(|it| it.1 > 0)
        .map(|(name, bytes)| Bar {
            name: name.clone(),
            time: Size::bytes(*bytes).to_string(),
            percent: (bytes / (most / 100).max(1)).clamp(1, 100),
            ..Bar::default()
        })
        .collect()
}

/// Bars of things that began at some milliseconds, each until the next one.
pub fn bars_of_beginnings(beginnings: &[(String, u64)], end: u64) -> Vec<Bar> {
    let whole = end.max(1);
    beginnings
        .iter()
        .enumerate()
        .map(|(i, (name, at))| {
            let until = beginnings.get(i + 1).map_or(end, |next| next.1).max(*at);
            Bar {
                name: name.clone(),
                at: Span::secs(at / 1000).to_string(),
                time: Span::secs((until - at) / 1000).to_string(),
                start: (at * 100 / whole).min(99),
                percent: ((until - at) * 100 / whole).clamp(1, 100),
                is_bad: false,
            }
        })
        .collect()
}

impl Report {
    /// The report as HTML.
    pub fn html(&self) -> Result<String, minijinja::Error> {
        let mut environment = Environment::new();
        environment.add_template("report.html", TEMPLATE)?;
        environment.get_template("report.html")?.render(Value::from(Serde(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_console_says_cannot_become_markup() {
        let report = Report {
            consoles: vec![Console::new(
                "console",
                "console",
                "<script>alert(1)</script>\nx",
                None,
            )],
            ..Report::default()
        };
        let html = report.html().unwrap();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;"));
    }

    #[test]
    fn what_a_spec_a_guest_or_a_mirror_says_cannot_become_markup() {
        let hostile = || "\"'><img src=x onerror=alert(1)>".to_owned();
        let bar = || Bar { name: hostile(), at: hostile(), time: hostile(), ..Bar::default() };
        let report = Report {
            name: hostile(),
            outcome: hostile(),
            os: hostile(),
            run: hostile(),
            failure: Some(Failure {
                message: hostile(),
                causes: vec![hostile()],
                line: Some(hostile()),
                help: Some(hostile()),
            }),
            stages: vec![bar()],
            phases: vec![bar()],
            bytes: vec![bar()],
            requests: vec![Request { url: hostile(), ..Request::default() }],
            checks: vec![Check { name: hostile(), result: hostile(), ..Check::default() }],
            facts: vec![Fact { name: hostile(), value: hostile() }],
            pictures: vec![Picture { title: hostile(), ..Picture::default() }],
            ..Report::default()
        };
        let html = report.html().unwrap();
        assert!(!html.contains("<img src=x") && !html.contains("alt=\"\"'>"), "{html}");
        assert!(html.matches("&lt;img").count() >= 17, "{html}");
        assert!(html.contains("default-src 'none'"), "nothing else may be fetched or run either");
    }

    #[test]
    fn the_line_that_says_it_is_marked() {
        let console = Console::new("console", "console", "fine\nit broke here\nend", Some("broke"));
        let marked: Vec<_> = console.lines.iter().filter(|it| it.marked).collect();
        assert_eq!(marked.len(), 1);
        assert_eq!(marked[0].text, "it broke here");
    }

    #[test]
    fn stages_follow_each_other_and_end_with_the_one_that_failed() {
        let bars = bars_of_durations(
            &[("fetch".into(), 20_000), ("boot-disk".into(), 0)],
            Some(&("install".into(), 60_000)),
        );
        let places: Vec<_> = bars.iter().map(|it| (it.start, it.percent, it.is_bad)).collect();
        assert_eq!(places, [(0, 25, false), (25, 1, false), (25, 75, true)]);
    }

    #[test]
    fn bytes_are_measured_by_the_most() {
        let amounts = [("a".into(), 1 << 40), ("b".into(), 1 << 39), ("c".into(), 0)];
        let bars: Vec<_> =
            bars_of_bytes(&amounts).into_iter().map(|it| (it.name, it.time, it.percent)).collect();
        assert_eq!(bars, [("a".into(), "1 TiB".into(), 100), ("b".into(), "512 GiB".into(), 50)]);
    }

    #[test]
    fn phases_follow_each_other() {
        let bars = bars_of_beginnings(&[("a".into(), 0), ("b".into(), 30_000)], 60_000);
        assert_eq!((bars[0].start, bars[0].percent), (0, 50));
        assert_eq!((bars[1].start, bars[1].percent), (50, 50));
    }
}
