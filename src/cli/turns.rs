//! Whose turn it is: how many builds run at once, in all and in each cloud.
//!
//! First come, first served. In a cloud a build begins when its quotas have room
//! for all that the build makes at its most, beside what our other builds there
//! may still make. What the room was is asked while none of ours is there: what
//! a build has made already and what it has not yet cannot be told apart later.
//! Where a cloud refuses something for its quotas nevertheless, the build gives
//! back what the stage has made and waits until another of ours has ended.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use async_trait::async_trait;
use tokio::sync::{Mutex, Notify, Semaphore, SemaphorePermit};

use super::{cloud, failure::Failure};
use crate::{
    CancellationToken,
    engine::{Resource, Runner, StageCx, StageError},
    model::{Build, Target},
    openstack::{self, Cloud, limits::Limits, preflight::Makes},
    plan::{Action, Stage},
    runner::{Crowd, Place},
};

/// Builds that read, write and send large files at the same time. More would be
/// no faster and need memory each.
const AT_WORK: usize = 8;

/// The turns of all builds of one command.
pub(super) struct Turns {
    jobs: Semaphore,
    work: Semaphore,
    sites: RefCell<BTreeMap<Option<String>, Rc<Site>>>,
}

/// A cloud, and our builds in it.
pub(super) struct Site {
    /// The cloud; all builds share its connections and its token.
    pub(super) cloud: Cloud,
    /// All servers there that we look at.
    pub(super) crowd: Crowd,
    /// Who has it is the next to begin.
    next: Mutex<()>,
    ours: RefCell<Ours>,
    /// One of ours has ended: told to who is the next to begin.
    room: Notify,
    /// The same, told to who was refused.
    retry: Notify,
}

/// Our builds in a cloud.
#[derive(Debug, Default)]
struct Ours {
    running: usize,
    /// Those of them that wait for another one to end.
    waiting: usize,
    /// What may be made by all of ours together; `None` is without limit.
    room: [Option<u64>; KINDS],
    taken: Demand,
}

/// How many kinds of things are counted.
const KINDS: usize = 8;

/// So much of everything: servers, processors, MiB of memory, ports, images,
/// volumes, snapshots, GiB of both.
type Demand = [u64; KINDS];

/// A build's turn in a cloud; it ends when this is dropped.
pub(super) struct Turn {
    site: Rc<Site>,
    demand: Demand,
    kept: Cell<Demand>,
}

impl Turns {
    /// At most so many builds at once.
    pub(super) fn new(jobs: usize) -> Self {
        Self {
            jobs: Semaphore::new(jobs),
            work: Semaphore::new(AT_WORK),
            sites: RefCell::default(),
        }
    }

    /// Waits until one more build may run; nothing where that will never be.
    pub(super) async fn job(&self, stop: &CancellationToken) -> Option<SemaphorePermit<'_>> {
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            permit = self.jobs.acquire() => permit.ok(),
        }
    }

    /// The cloud of this name; `OS_CLOUD` or `OS_*` where none is named.
    pub(super) fn site(&self, name: Option<&str>) -> Result<Rc<Site>, Failure> {
        let key = name.map(str::to_owned);
        if let Some(site) = self.sites.borrow().get(&key) {
            return Ok(Rc::clone(site));
        }
        let site = Rc::new(Site {
            cloud: cloud::connect(name)?,
            crowd: Crowd::default(),
            next: Mutex::default(),
            ours: RefCell::default(),
            room: Notify::new(),
            retry: Notify::new(),
        });
        self.sites.borrow_mut().insert(key, Rc::clone(&site));
        Ok(site)
    }
}

impl Site {
    /// Waits until the cloud has room for the build, and says where its servers
    /// are started. `waits` is called before the first wait. `heading` names the build
    /// where there are several. `None` where the user wants it no more.
    pub(super) async fn begin(
        self: &Rc<Self>,
        build: &Build,
        user_data: usize,
        heading: Option<&str>,
        waits: impl Fn(),
        stop: &CancellationToken,
    ) -> Result<Option<(Place, Turn)>, Failure> {
        let begun = async {
            let _next = self.next.lock().await;
            let mut is_told = false;
            loop {
                let is_alone = self.ours.borrow().running == 0;
                let found =
                    cloud::survey(&self.cloud, build, user_data, !is_alone, heading).await?;
                let demand = demand(&found.makes, found.vcpus, found.ram);
                loop {
                    // A build among others may have become the only one while it waited.
                    let is_still_alone = self.ours.borrow().running == 0;
                    if is_still_alone != is_alone {
                        break;
                    }
                    if is_alone {
                        self.ours.borrow_mut().room = room(&found.limits);
                    }
                    if self.ours.borrow_mut().takes(&demand, is_alone) {
                        let kept = Cell::default();
                        let turn = Turn { site: Rc::clone(self), demand, kept };
                        return Ok((found.place, turn));
                    }
                    if !std::mem::replace(&mut is_told, true) {
                        waits();
                    }
                    self.room.notified().await;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(None),
            begun = begun => begun.map(Some),
        }
    }
}

impl Turn {
    /// The build has made its product, which stays.
    pub(super) fn made(&self, target: &Target) {
        let [.., gib] = self.demand;
        self.kept.set(match target {
            Target::Volume(it) => [0, 0, 0, 0, u64::from(it.image.is_some()), 1, 1, gib],
            Target::File(_) | Target::Glance(_) => [0, 0, 0, 0, 1, 0, 0, 0],
        });
    }

    /// Waits until another of our builds in this cloud has ended; `false` where
    /// none of them goes on.
    async fn another_ended(&self) -> bool {
        let site = &self.site;
        {
            let mut ours = site.ours.borrow_mut();
            if ours.waiting + 1 >= ours.running {
                return false;
            }
            ours.waiting += 1;
        }
        let waiting = Waiting(site);
        site.retry.notified().await;
        drop(waiting);
        true
    }
}

/// Counted among those that wait.
struct Waiting<'a>(&'a Site);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.ours.borrow_mut().waiting -= 1;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut ours = self.site.ours.borrow_mut();
        ours.running -= 1;
        let kept = self.kept.get();
        for (n, taken) in ours.taken.iter_mut().enumerate() {
            *taken = taken.saturating_sub(self.demand[n]);
        }
        for (room, kept) in ours.room.iter_mut().zip(kept) {
            *room = room.map(|it| it.saturating_sub(kept));
        }
        drop(ours);
        self.site.room.notify_one();
        self.site.retry.notify_one();
    }
}

impl Ours {
    /// Counts one more build, if there is room for it; for the only one there is,
    /// as was looked at before.
    fn takes(&mut self, demand: &Demand, is_alone: bool) -> bool {
        let fits = is_alone || fits(&self.room, &self.taken, demand);
        if fits {
            self.running += 1;
            add(&mut self.taken, demand);
        }
        fits
    }
}

fn demand(makes: &Makes, vcpus: u64, ram: u64) -> Demand {
    let Makes { servers, ports, security_groups: _, images, volumes, snapshots, gigabytes } =
        *makes;
    [servers, servers * vcpus, servers * ram, ports, images, volumes, snapshots, gigabytes]
}

fn room(limits: &Limits) -> [Option<u64>; KINDS] {
    let Limits { servers, cores, ram, volumes, snapshots, gigabytes, ports, images, .. } = limits;
    [servers, cores, ram, ports, images, volumes, snapshots, gigabytes]
        .map(|it| it.limit.map(|limit| limit.saturating_sub(it.used)))
}

fn fits(room: &[Option<u64>; KINDS], taken: &Demand, more: &Demand) -> bool {
    let of = room.iter().zip(taken).zip(more);
    of.into_iter()
        .all(|((room, taken), more)| *more == 0 || room.is_none_or(|it| taken + more <= it))
}

fn add(taken: &mut Demand, more: &Demand) {
    for (taken, more) in taken.iter_mut().zip(more) {
        *taken += more;
    }
}

/// Performs the stages of one build among others.
pub(super) struct InTurn<'a> {
    /// Performs them.
    pub(super) runner: &'a dyn Runner,
    /// Of all builds.
    pub(super) turns: &'a Turns,
    /// In its cloud, if it is in one.
    pub(super) turn: Option<&'a Turn>,
}

impl InTurn<'_> {
    /// Gives back what a stage has made so far, so that it can begin anew.
    async fn undo(&self, stage: &Stage, cx: &mut StageCx<'_>) -> Result<(), StageError> {
        let is_of_stage = |it: &&Resource| stage.planned(&it.label).is_some();
        let made: Vec<_> = cx.state().held.iter().filter(is_of_stage).cloned().collect();
        for resource in made.iter().rev() {
            self.runner.release(resource).await?;
            cx.released(&resource.label)?;
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl Runner for InTurn<'_> {
    async fn run(
        &self,
        stage: &Stage,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let is_work = matches!(
            stage.action,
            Action::Fetch { .. } | Action::BootDisk { .. } | Action::Upload { .. }
        );
        loop {
            let at_work = if is_work {
                let cancel = cx.cancel.clone();
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Err(StageError::Cancelled),
                    permit = cx.aside(self.turns.work.acquire()) => permit.ok(),
                }
            } else {
                None
            };
            let error = match self.runner.run(stage, cx).await {
                Ok(output) => return Ok(output),
                Err(error) => error,
            };
            drop(at_work);
            let is_full = error.inner().is_some_and(openstack::Error::is_over_quota);
            let Some(turn) = self.turn.filter(|_| is_full) else { return Err(error) };
            self.undo(stage, cx).await?;
            let said = error.causes().join(": ");
            cx.teller().warn(format!("waits until another build in this cloud has ended: {said}"));
            let cancel = cx.cancel.clone();
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(StageError::Cancelled),
                ended = cx.aside(turn.another_ended()) => if !ended { return Err(error) },
            }
        }
    }

    async fn release(&self, resource: &Resource) -> Result<(), StageError> {
        self.runner.release(resource).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openstack::limits::Room;

    #[test]
    fn what_is_not_limited_fits_and_what_is_not_wanted_is_not_counted() {
        let limits = Limits {
            servers: Room { used: 3, limit: Some(5) },
            // More is used than may be: nothing else fits.
            volumes: Room { used: 9, limit: Some(5) },
            ..Limits::default()
        };
        let room = room(&limits);
        let build = demand(&Makes { servers: 1, ports: 1, ..Makes::default() }, 4, 8192);
        let with_volume = demand(&Makes { servers: 1, volumes: 1, ..Makes::default() }, 4, 8192);
        let mut taken = Demand::default();
        assert!(!fits(&room, &taken, &with_volume));
        for _ in 0..2 {
            assert!(fits(&room, &taken, &build));
            add(&mut taken, &build);
        }
        assert!(!fits(&room, &taken, &build));
    }
}
