//! `report.html` in a real browser, from disk and without a network.
//! `make test-report` installs the browser and runs this.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests use the rest of it")]
mod quick;

use std::{path::Path, process::Command};

use quick::{Work, text};

/// Opens a page as a person would, with every name and address unreachable but
/// what is on disk, and returns the document as the browser understood it and
/// what it logged.
fn opened(page: &Path, picture: &Path) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let browse = |action: &str| {
        let output = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
            .args(["--proxy-server=127.0.0.1:9", "--window-size=1100,1600", action])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("file://{}", page.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    browse(&format!("--screenshot={}", picture.display()));
    browse("--dump-dom")
}

#[test]
#[ignore = "needs a browser: make test-report"]
fn a_report_tells_the_story_of_a_failure() {
    let work = Work::new("fail", "");
    let built = work.command(&["build", "quick.toml", "--format", "plain"]).output().unwrap();
    assert_eq!(built.status.code(), Some(1), "{}", text(&built.stderr));
    let page = work.run().join("report.html");
    let source = fs_err::read_to_string(&page).unwrap();
    // Nothing is fetched from anywhere, and nothing runs.
    for outside in ["src=\"http", "href=\"http", "url(", "<script", "<link", "@import"] {
        assert!(!source.contains(outside), "{outside}");
    }
    let picture = work.path("report.png");
    let (document, logged) = opened(&page, &picture);
    assert!(!logged.contains("CONSOLE"), "{logged}");
    assert!(fs_err::metadata(&picture).unwrap().len() > 20_000, "the page is nearly empty");
    for part in [
        "<h1>quick <span class=\"bad\">failed</span></h1>",
        "id=\"failure\"",
        "id=\"stages\"",
        "<td class=\"bad\">install</td>",
        "id=\"phases\"",
        "id=\"facts\"",
        "alt=\"screenshot\"",
        "<pre id=\"console\">",
        "<pre id=\"installer-syslog\">",
        "<mark>imgbuild-quick: error:",
    ] {
        assert!(document.contains(part), "`{part}` is missing:\n{document}");
    }
    assert_eq!(document.matches("<h1>").count(), 1, "it is parsed as it was written");
}
