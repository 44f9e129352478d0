//! Whole builds in a cloud that does not always answer: a service is away for
//! longer than one request is tried, and each request fails in turn. Nothing is
//! left that is not reported, and nothing is called a success that is none.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod pretence;
#[expect(dead_code, reason = "other tests use the rest of it")]
mod quick;

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use imgbuild::openstack::fake::{FakeCloud, Fault, Manners, When};
use pretence::command;
use quick::{Work, text};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Builds at once.
const AT_ONCE: usize = 6;

async fn cloud() -> (FakeCloud, Work) {
    let delay = Duration::from_millis(20);
    pretence::cloud(Manners { delay, ..pretence::manners(Duration::from_millis(300)) }).await
}

const BUILD: [&str; 6] = ["build", "quick.toml", "--cloud", "fake", "--format", "plain"];
/// What is made.
const TARGETS: [&str; 2] = ["glance", "volume"];

#[tokio::test]
async fn a_service_that_is_away_for_minutes_does_not_end_an_install() {
    let (cloud, work) = cloud().await;
    let before = cloud.things().len();
    let mut child = command(&work, &BUILD).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let mut is_away = false;
    let build = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("install ...") {
                cloud.fail(When::Matching("/action".to_owned(), usize::MAX), Fault::Unavailable);
            } else if line.contains("does not answer") {
                is_away = true;
                cloud.heal();
            }
            said.push_str(&line);
            said.push('\n');
        }
    };
    tokio::time::timeout(Duration::from_mins(5), build).await.unwrap();
    assert!(child.wait().await.unwrap().success(), "{said}");
    assert!(is_away && said.contains("answers again"), "{said}");
    assert_eq!(cloud.things().len(), before + 1, "{said}");
}

/// Builds while request `n` fails, and says what is wrong with how it ended.
async fn built(target: &str, fault: Option<(usize, Fault)>) -> (Vec<String>, Option<String>) {
    let (cloud, work) = cloud().await;
    let before = cloud.things();
    if let Some((n, fault)) = fault {
        cloud.fail(When::Nth(n), fault);
    }
    let ended = command(&work, &[&BUILD[..], &["--target", target]].concat()).output();
    let Ok(ended) = tokio::time::timeout(Duration::from_mins(8), ended).await else {
        return (cloud.requests(), Some(format!("{fault:?}: it does not end")));
    };
    let Output { status, stdout, stderr } = ended.unwrap();
    let requests = cloud.requests();
    let request = fault.and_then(|it| requests.get(it.0).cloned()).unwrap_or_default();
    let said = text(&stderr);
    let mut left = cloud.things();
    left.retain(|it| !before.contains(it));
    let product = text(&stdout).trim().to_owned();
    let is_there = left.iter().any(|it| it.id == product && it.name == "quick");
    // A snapshot's volume is the product's other half.
    let n_products = if target == "volume" { 2 } else { 1 };
    let unreported: Vec<_> = left
        .iter()
        .filter(|it| !(said.contains(&it.name) || status.success() && is_there))
        .collect();
    let wrong = match status.code() {
        Some(0) if !is_there => Some("a false success"),
        Some(0) if left.len() != n_products => Some("something is left"),
        Some(1) if !left.is_empty() => Some("something is left"),
        Some(4) if left.is_empty() => Some("nothing is left, and it says so"),
        Some(0 | 1 | 4) if unreported.is_empty() => None,
        Some(0 | 1 | 4) => Some("something is left that is not reported"),
        _ => Some("it ended in another way"),
    };
    (requests, wrong.map(|it| format!("{target}, {fault:?}, `{request}`: {it}; {left:?}\n{said}")))
}

/// How; the rest is in `tests/openstack_build_faults.rs`.
const FAULTS: [Fault; 2] = [Fault::ReplyLost, Fault::Broken];

#[tokio::test]
async fn whichever_request_fails_nothing_is_left_in_secret() {
    let mut cases = Vec::new();
    for target in TARGETS {
        let (requests, wrong) = built(target, None).await;
        assert_eq!(wrong, None);
        // A request that changes something is the one that matters; looks are
        // all alike, and a volume is built as an image is but for its own requests.
        let numbers: Vec<usize> = (0..requests.len())
            .filter(|n| {
                let it = &requests[*n];
                let is_new = !it.starts_with("GET") && !requests[..*n].contains(it);
                is_new && (target == "glance" || it.contains("/volume"))
            })
            .collect();
        assert!(numbers.len() >= 4, "{requests:#?}");
        let each = |n: usize| FAULTS.map(|fault| (target, n, fault));
        cases.extend(numbers.into_iter().flat_map(each));
    }
    let n_cases = cases.len();
    let wrong: Vec<_> = stream::iter(cases)
        .map(|(target, n, fault)| async move { built(target, Some((n, fault))).await.1 })
        .buffer_unordered(AT_ONCE)
        .filter_map(|it| async { it })
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} of {n_cases} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
