//! Whatever fails, whenever it fails, nothing is left behind unreported.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use imgbuild::{
    CancellationToken,
    engine::{
        self, Decision, Ends, Journal, Lifetime, Outcome, Resource, ResourceKind, Runner, StageCx,
        StageError, State, Teller,
    },
    model::{Arch, UserAction},
    plan::{Action, Plan, Planned, Stage},
    redact::Redactor,
    units::{Size, Span},
};

/// A world in which things are made and removed, and one request may fail:
/// before it takes effect, or after it with the reply lost.
#[derive(Clone, Default)]
struct World(Rc<RefCell<Inside>>);

#[derive(Default)]
struct Inside {
    things: BTreeSet<String>,
    n_requests: usize,
    fail_at: Option<(usize, Fault)>,
    cancel_at: Option<(usize, CancellationToken)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Refused,
    ReplyLost,
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("request {0} failed")]
struct Failed(usize);

impl World {
    fn request(&self, act: impl FnOnce(&mut BTreeSet<String>)) -> Result<(), StageError> {
        let mut inside = self.0.borrow_mut();
        let index = inside.n_requests;
        inside.n_requests += 1;
        if let Some((at, cancel)) = &inside.cancel_at
            && *at == index
        {
            cancel.cancel();
        }
        match inside.fail_at {
            Some((at, Fault::Refused)) if at == index => Err(StageError::of(Failed(index))),
            Some((at, Fault::ReplyLost)) if at == index => {
                act(&mut inside.things);
                Err(StageError::of(Failed(index)))
            }
            _ => {
                act(&mut inside.things);
                Ok(())
            }
        }
    }
}

#[async_trait(?Send)]
impl Runner for World {
    async fn run(
        &self,
        stage: &Stage,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        for planned in &stage.creates {
            cx.claim(Resource {
                label: planned.label.clone(),
                kind: planned.kind.clone(),
                name: planned.name.clone(),
                id: None,
                lifetime: planned.lifetime,
            })?;
            self.request(|things| _ = things.insert(planned.name.clone()))?;
            if cx.cancel.is_cancelled() {
                return Err(StageError::Cancelled);
            }
            cx.confirm(&planned.label, "id")?;
        }
        Ok(serde_json::Value::Null)
    }

    async fn release(&self, resource: &Resource) -> Result<(), StageError> {
        self.request(|things| _ = things.remove(&resource.name))
    }
}

fn plan() -> Plan {
    let stage = |name: &str, things: &[(&str, Lifetime)]| Stage {
        name: name.to_owned(),
        title: name.to_owned(),
        timeout: Span::minutes(1),
        creates: things
            .iter()
            .map(|(it, lifetime)| Planned {
                label: (*it).to_owned(),
                kind: ResourceKind::File,
                name: format!("thing-{it}"),
                lifetime: *lifetime,
                size: None,
            })
            .collect(),
        action: Action::User {
            action: UserAction::Command {
                run: vec![],
                environment: std::collections::BTreeMap::default(),
            },
            machine: machine(),
        },
    };
    Plan {
        name: "test".into(),
        os: "debian-13".into(),
        arch: Arch::X86_64,
        stages: vec![
            stage("first", &[("a", Lifetime::Scratch), ("b", Lifetime::Scratch)]),
            stage("second", &[("c", Lifetime::Scratch)]),
            stage("third", &[("image", Lifetime::Product)]),
        ],
    }
}

fn machine() -> imgbuild::plan::Machine {
    imgbuild::plan::Machine {
        memory: Size::gib(1),
        cpus: 1,
        firmware: imgbuild::model::Firmware::Bios,
        disk_bus: "virtio".into(),
        nic: "virtio-net-pci".into(),
        machine_type: "q35".into(),
        x86_64_level: 1,
        qemu: imgbuild::model::Qemu::default(),
    }
}

struct Run {
    _folder: tempfile::TempDir,
    journal: Utf8PathBuf,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Utf8PathBuf::try_from(folder.path().join("journal.jsonl")).unwrap();
        Self { _folder: folder, journal }
    }

    async fn go(&self, world: &World, cancel: &CancellationToken, decision: Decision) -> Outcome {
        let mut journal =
            Journal::open(&self.journal, Redactor::default(), Teller::default()).unwrap();
        let ends = Ends::new(cancel.clone(), None);
        engine::run(&plan(), world, &mut journal, &ends, &mut |_| decision).await
    }
}

fn names(resources: &[Resource]) -> BTreeSet<String> {
    resources.iter().map(|it| it.name.clone()).collect()
}

#[tokio::test]
async fn a_good_build_leaves_its_product_and_nothing_else() {
    let world = World::default();
    let outcome = Run::new().go(&world, &CancellationToken::new(), Decision::Cleanup).await;
    outcome.result.unwrap();
    assert_eq!(world.0.borrow().things, BTreeSet::from(["thing-image".to_owned()]));
    assert!(outcome.leftovers.is_empty());
}

#[tokio::test]
async fn every_failed_request_is_undone_or_reported() {
    let world = World::default();
    Run::new().go(&world, &CancellationToken::new(), Decision::Cleanup).await.result.unwrap();
    let n_requests = world.0.borrow().n_requests;
    for fail_at in 0..n_requests {
        for fault in [Fault::Refused, Fault::ReplyLost] {
            let world = World::default();
            world.0.borrow_mut().fail_at = Some((fail_at, fault));
            let outcome = Run::new().go(&world, &CancellationToken::new(), Decision::Cleanup).await;
            let mut allowed = names(&outcome.leftovers);
            if outcome.result.is_ok() {
                allowed.insert("thing-image".to_owned());
            }
            let things = world.0.borrow().things.clone();
            assert!(things.is_subset(&allowed), "request {fail_at} left {things:?}");
        }
    }
}

#[tokio::test]
async fn an_interruption_at_any_request_undoes_everything() {
    for at in 0..4 {
        let world = World::default();
        let cancel = CancellationToken::new();
        world.0.borrow_mut().cancel_at = Some((at, cancel.clone()));
        let outcome = Run::new().go(&world, &cancel, Decision::Keep).await;
        assert!(matches!(outcome.result.unwrap_err().source, StageError::Cancelled), "at {at}");
        assert!(world.0.borrow().things.is_empty(), "at {at}");
    }
}

#[tokio::test]
async fn keep_leaves_everything_and_says_so() {
    let world = World::default();
    world.0.borrow_mut().fail_at = Some((2, Fault::Refused));
    let outcome = Run::new().go(&world, &CancellationToken::new(), Decision::Keep).await;
    assert!(outcome.result.is_err());
    let things = world.0.borrow().things.clone();
    assert_eq!(things.len(), 2);
    assert!(things.is_subset(&names(&outcome.leftovers)));
}

/// A crash is a journal that ends somewhere: whatever exists then must be named
/// in it, and the next run must come to the same end.
#[tokio::test]
async fn a_build_that_was_killed_at_any_line_goes_on_to_the_same_end() {
    let whole = Run::new();
    whole.go(&World::default(), &CancellationToken::new(), Decision::Cleanup).await.result.unwrap();
    let text = fs_err::read_to_string(&whole.journal).unwrap();
    let n_lines = text.lines().count();
    for n in 0..n_lines {
        let run = Run::new();
        let head: String = text.split_inclusive('\n').take(n).collect();
        fs_err::write(&run.journal, head).unwrap();
        let world = World::default();
        // What the journal claims may exist already, or not yet.
        let claimed = State::read(&run.journal).unwrap().held;
        world.0.borrow_mut().things = names(&claimed);
        let outcome = run.go(&world, &CancellationToken::new(), Decision::Cleanup).await;
        outcome.result.unwrap();
        let left = world.0.borrow().things.clone();
        let made_before = text
            .lines()
            .take(n)
            .any(|it| it.contains("\"third\"") && it.contains("stage-finished"));
        if !made_before {
            assert_eq!(left, BTreeSet::from(["thing-image".to_owned()]), "after line {n}");
        }
    }
}

/// What was given back is made again: stages that were done are not any more.
#[tokio::test]
async fn a_build_that_was_undone_at_any_request_begins_anew() {
    for at in 0..4 {
        let run = Run::new();
        let world = World::default();
        world.0.borrow_mut().fail_at = Some((at, Fault::Refused));
        let ended = run.go(&world, &CancellationToken::new(), Decision::Cleanup).await;
        assert!(ended.result.is_err(), "at {at}");
        let n_before = world.0.borrow().n_requests;
        let ended = run.go(&world, &CancellationToken::new(), Decision::Cleanup).await;
        ended.result.unwrap();
        let n_again = world.0.borrow().n_requests - n_before;
        // Four things are made, three of them given back.
        assert_eq!(n_again, 7, "at {at}");
    }
}

#[tokio::test]
async fn a_build_that_was_kept_goes_on_where_it_failed() {
    let run = Run::new();
    let world = World::default();
    world.0.borrow_mut().fail_at = Some((2, Fault::Refused));
    let ended = run.go(&world, &CancellationToken::new(), Decision::Keep).await;
    assert!(ended.result.is_err());
    run.go(&world, &CancellationToken::new(), Decision::Cleanup).await.result.unwrap();
    // Three to the failure, two things more, three of them given back.
    assert_eq!(world.0.borrow().n_requests, 8);
}

/// A stage that ends only when it is asked to.
struct Endless(World);

#[async_trait(?Send)]
impl Runner for Endless {
    async fn run(
        &self,
        stage: &Stage,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        self.0.run(stage, cx).await?;
        cx.cancel.cancelled().await;
        Err(StageError::Cancelled)
    }

    async fn release(&self, resource: &Resource) -> Result<(), StageError> {
        self.0.release(resource).await
    }
}

#[tokio::test]
async fn a_build_whose_time_is_up_has_failed_and_it_is_asked_what_to_do() {
    for (decision, n_left) in [(Decision::Cleanup, 0), (Decision::Keep, 2)] {
        let run = Run::new();
        let mut journal =
            Journal::open(&run.journal, Redactor::default(), Teller::default()).unwrap();
        let ends = Ends::new(CancellationToken::new(), Some(Span::secs(1)));
        let runner = Endless(World::default());
        let outcome = engine::run(&plan(), &runner, &mut journal, &ends, &mut |_| decision).await;
        let error = outcome.result.unwrap_err();
        assert!(matches!(error.source, StageError::BuildTimedOut(it) if it == Span::secs(1)));
        assert_eq!(outcome.leftovers.len(), n_left, "{decision:?}");
        assert_eq!(runner.0.0.borrow().things.len(), n_left, "{decision:?}");
    }
}
