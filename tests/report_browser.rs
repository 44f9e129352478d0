//! `report.html` in a real browser, from disk and without a network.
//! `make test-report` installs the browser and runs this.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests use the rest of it")]
mod quick;

use std::{path::Path, process::Command};

use quick::{Work, text};

/// A page as a browser understood it.
struct Page {
    document: String,
    logged: String,
    light: Vec<u8>,
    dark: Vec<u8>,
}

/// Opens a report as a person would, with every name and address unreachable but
/// what is on disk.
fn opened(report: &Path) -> Page {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.png");
    let browse = |more: &[&str]| {
        let output = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
            .args(["--proxy-server=127.0.0.1:9", "--window-size=1100,2400"])
            .args(more)
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg(format!("file://{}", report.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    // The values of blink::mojom::PreferredColorScheme.
    let colours = |scheme: u8| {
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        browse(&[&scheme, &format!("--screenshot={}", picture.display())]);
        fs_err::read(&picture).unwrap()
    };
    let (dark, light) = (colours(0), colours(1));
    let (document, logged) = browse(&["--dump-dom"]);
    if let Some(kept) = std::env::var_os("IMGBUILD_KEEP_PICTURES") {
        let name = report.parent().unwrap().file_name().unwrap().to_string_lossy();
        for (scheme, bytes) in [("dark", &dark), ("light", &light)] {
            fs_err::write(Path::new(&kept).join(format!("{name}-{scheme}.png")), bytes).unwrap();
        }
    }
    Page { document, logged, light, dark }
}

/// What every report has to keep to, and what this one has to have.
fn expect(report: &Path, parts: &[&str]) {
    let source = fs_err::read_to_string(report).unwrap();
    // Nothing is fetched from anywhere, and nothing runs.
    for outside in ["src=\"http", "href=\"http", "url(", "<script", "<link", "@import"] {
        assert!(!source.contains(outside), "{outside}");
    }
    let page = opened(report);
    assert!(!page.logged.contains("CONSOLE"), "{}", page.logged);
    assert!(page.light.len().min(page.dark.len()) > 20_000, "the page is nearly empty");
    assert_ne!(page.light, page.dark, "a dark desktop gets a dark page");
    for part in parts {
        assert!(page.document.contains(part), "`{part}` is missing:\n{}", page.document);
    }
    assert_eq!(page.document.matches("<h1>").count(), 1, "it is parsed as it was written");
}

#[test]
#[ignore = "needs a browser: make test-report"]
fn a_report_tells_the_story_of_a_failure() {
    let work = Work::new("fail", "");
    let built = work.command(&["build", "quick.toml", "--format", "plain"]).output().unwrap();
    assert_eq!(built.status.code(), Some(1), "{}", text(&built.stderr));
    expect(
        &work.run().join("report.html"),
        &[
            "<h1>quick <span class=\"bad\">failed</span></h1>",
            "id=\"failure\"",
            "id=\"stages\"",
            "<td class=\"bad\">install</td>",
            "id=\"phases\"",
            "id=\"bytes\"",
            "id=\"facts\"",
            "alt=\"screenshot\"",
            "<pre id=\"console\">",
            "<pre id=\"installer-syslog\">",
            "<mark>imgbuild-quick: error:",
        ],
    );
}

#[test]
#[ignore = "needs a browser: make test-report"]
fn a_report_tells_the_story_of_a_success() {
    let work = Work::new("ok", "[verify]\nconsole = \"quickhost login:\"\n");
    let arguments = ["build", "quick.toml", "--format", "plain", "--screenshots"];
    let built = work.command(&arguments).output().unwrap();
    assert!(built.status.success(), "{}", text(&built.stderr));
    expect(
        &work.run().join("report.html"),
        &[
            "<h1>quick <span class=\"good\">succeeded</span></h1>",
            "id=\"stages\"",
            "<td>publish</td>",
            "<td>boot-loader</td>",
            "<td>install: written to disks</td>",
            "<td>image</td>",
            "id=\"checks\"",
            "on the console after",
            "<td>kernel</td>",
            "<td>image's digest</td>",
            "alt=\"screenshot-packages\"",
            "alt=\"screenshot-verify\"",
            "<pre id=\"console-verify\">",
        ],
    );
}
