//! Whichever request to a cloud fails, and however: nothing is left that is not
//! reported, nothing is called a success that is none, and no wait is endless.
//!
//! Looking again at what has not changed yet is the same request again: of each
//! the first and the last is failed, with `IMGBUILD_ALL_FAULTS` every one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "openstack/conversation.rs"]
mod conversation;

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use conversation::{Claims, World, hold, unwind};
use futures_util::{StreamExt as _, stream};
use imgbuild::{
    CancellationToken,
    openstack::{
        Cloud, Error, Patience,
        fake::{FakeCloud, Fault, Manners, When},
        wait::Backoff,
    },
};

/// Conversations that are held at once.
const AT_ONCE: usize = 24;

fn patience() -> Patience {
    let quick = Backoff::new(Duration::from_millis(4), Duration::from_millis(30));
    Patience {
        connect: Duration::from_secs(2),
        request: Duration::from_millis(900),
        attempts: 4,
        total: Duration::from_secs(10),
        retry: quick,
        retry_after: Duration::from_millis(50),
        idle: Duration::from_secs(2),
        stored: Duration::from_secs(2),
        poll: quick,
        away: Duration::from_secs(30),
    }
}

struct Run {
    result: Result<(), Error>,
    requests: Vec<String>,
}

/// Holds the conversation with a cloud that fails so, heals it, and unwinds.
async fn run(disk: &Utf8Path, fault: Option<(When, Fault)>) -> Run {
    let manners = Manners {
        delay: Duration::from_millis(10),
        guest: Some(Duration::from_millis(40)),
        ..Manners::default()
    };
    let fake = FakeCloud::start(manners).await.unwrap();
    let title = format!("{fault:?}");
    let is_lasting = matches!(fault, Some((When::From(_), _)));
    if let Some((when, fault)) = fault {
        fake.fail(when, fault);
    }
    let world = World {
        prefix: "run".into(),
        disk: disk.to_owned(),
        format: "raw",
        patience: Duration::from_secs(if is_lasting { 2 } else { 20 }),
    };
    let cloud = Cloud::new(fake.config(), patience(), CancellationToken::new()).unwrap();
    let mut claims = Claims::default();
    let all = async {
        let result = hold(&cloud, &world, &mut claims).await;
        let requests = fake.requests();
        if is_lasting {
            fake.heal();
        }
        let leftovers =
            unwind(&cloud.under(CancellationToken::new()), &claims, Duration::from_secs(20)).await;
        let reported: Vec<_> = leftovers.iter().map(|(it, _)| it.name.as_str()).collect();
        // What had to be deleted twice may take a moment to be gone.
        let things = fake.things();
        for thing in &things {
            assert!(
                reported.contains(&thing.name.as_str()),
                "{title}: {thing:?} is left, reported are {leftovers:?}; {result:?}"
            );
        }
        Run { result, requests }
    };
    tokio::time::timeout(Duration::from_mins(3), all)
        .await
        .unwrap_or_else(|_| panic!("{title}: it does not end"))
}

fn disk() -> (tempfile::TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Utf8PathBuf::from_path_buf(dir.path().join("disk")).unwrap();
    fs_err::write(&disk, vec![7; 200_000]).unwrap();
    (dir, disk)
}

/// The numbers of the requests that are failed.
fn chosen(requests: &[String]) -> Vec<usize> {
    let is_all = std::env::var_os("IMGBUILD_ALL_FAULTS").is_some();
    (0..requests.len())
        .filter(|n| {
            let same = |others: &[String]| others.contains(&requests[*n]);
            is_all || !same(&requests[..*n]) || !same(&requests[*n + 1..])
        })
        .collect()
}

/// The requests of a good conversation, failed in one way each.
async fn fail_each(faults: &[Fault]) {
    let (_dir, disk) = disk();
    let good = run(&disk, None).await;
    good.result.unwrap();
    let numbers = chosen(&good.requests);
    assert!(numbers.len() > 80, "{}", numbers.len());
    let cases: Vec<_> =
        faults.iter().flat_map(|fault| numbers.iter().map(move |n| (*n, *fault))).collect();
    let failures: Vec<String> = stream::iter(cases)
        .map(|(n, fault)| {
            let disk = &disk;
            async move {
                let it = run(disk, Some((When::Nth(n), fault))).await;
                let request = it.requests.get(n).cloned().unwrap_or_default();
                // These are to be mended by asking again; but for who we are.
                let mended = match fault {
                    Fault::Broken => request.starts_with("GET") || request.starts_with("DELETE"),
                    Fault::Conflict => false,
                    Fault::Expired => !request.contains("/auth/"),
                    _ => true,
                };
                match it.result {
                    Err(err) if mended => Some(format!("{fault:?} of {n}, `{request}`: {err}")),
                    _ => None,
                }
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(|it| async { it })
        .collect()
        .await;
    assert!(failures.is_empty(), "{} cases: {failures:#?}", failures.len());
}

/// One test a fault, so that they run beside each other.
macro_rules! each {
    ($($name:ident: $fault:ident,)*) => {
        $(#[tokio::test]
        async fn $name() {
            fail_each(&[Fault::$fault]).await;
        })*
    };
}

each! {
    a_connection_that_ends_before_the_request_is_tried_again: Refused,
    a_service_that_breaks_is_asked_again_where_it_may_be: Broken,
    a_service_that_is_away_is_asked_again: Unavailable,
    a_token_that_expires_is_renewed: Expired,
    a_conflict_leaves_nothing: Conflict,
    a_reply_that_is_lost_is_found_out: ReplyLost,
    a_reply_that_is_cut_is_found_out: Truncated,
    a_reply_that_never_comes_is_found_out: NoAnswer,
}

#[tokio::test]
async fn a_cloud_that_fails_for_good_ends_the_build() {
    let (_dir, disk) = disk();
    let n_requests = run(&disk, None).await.requests.len();
    let cases = Fault::ALL
        .into_iter()
        .flat_map(|fault| (0..n_requests).step_by(17).map(move |n| (n, fault)));
    stream::iter(cases)
        .for_each_concurrent(AT_ONCE, |(n, fault)| {
            let disk = &disk;
            async move {
                let it = run(disk, Some((When::From(n), fault))).await;
                // How often is asked while waiting depends on the time; a short one may not reach it.
                assert!(
                    it.result.is_err() || it.requests.len() <= n,
                    "{fault:?} from {n}: a false success"
                );
            }
        })
        .await;
}
