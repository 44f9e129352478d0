//! The user's own stages: what they do, and where they are placed.

use std::collections::BTreeMap;

use super::{Checker, SpecError, names};
use crate::{
    model::{Place, STAGES, STAGES_IN_CLOUDS, UserAction, UserStage},
    spec::file::StageTable,
    units::Span,
};

/// Where in `STAGES` the installed system is there to be booted.
const INSTALL: usize = 2;
/// Where in `STAGES` the image is final.
const PUBLISH: usize = 5;

const TIMEOUT: Span = Span::minutes(30);

impl Checker<'_> {
    pub(super) fn stages(&mut self, tables: &[StageTable], is_verified: bool) -> Vec<UserStage> {
        let mut first_of: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, table) in tables.iter().enumerate() {
            let name = table.name.as_str();
            let index = i.to_string();
            let path = ["stages", index.as_str(), "name"];
            if STAGES.contains(&name) || STAGES_IN_CLOUDS.contains(&name) {
                self.error(
                    "duplicate",
                    format!("`{name}` is a stage of every build"),
                    &path,
                    "this name is taken",
                    "choose another name",
                );
            } else if let Some(first) = first_of.get(name) {
                let first = first.to_string();
                self.contradiction(
                    format!("two stages are called `{name}`"),
                    (&path, "again"),
                    (&["stages", first.as_str(), "name"], "first"),
                    "rename one of them",
                );
            } else {
                first_of.insert(name, i);
            }
        }
        let stages: Vec<_> = tables
            .iter()
            .enumerate()
            .filter_map(|(i, table)| self.stage(i, table, &first_of, is_verified))
            .collect();
        self.circles(tables, &first_of);
        for (i, table) in tables.iter().enumerate() {
            self.guest(i, table, tables, &first_of);
        }
        stages
    }

    fn stage(
        &mut self,
        i: usize,
        table: &StageTable,
        own: &BTreeMap<&str, usize>,
        is_verified: bool,
    ) -> Option<UserStage> {
        let index = i.to_string();
        let at = |key| ["stages", index.as_str(), key];
        let StageTable { name, before, after, timeout, .. } = table;
        let place = match (before, after) {
            (Some(_), Some(_)) => {
                self.contradiction(
                    format!("the stage `{name}` is placed twice"),
                    (&at("after"), "and after another"),
                    (&at("before"), "before one stage"),
                    "keep one of `before` and `after`",
                );
                None
            }
            (None, None) => {
                self.error(
                    "missing-key",
                    format!("where the stage `{name}` is placed is not said"),
                    &at("name"),
                    "needs `before` or `after`",
                    format!("add `before` or `after` with one of {}", names::list(&STAGES)),
                );
                None
            }
            (Some(other), None) => {
                self.other_stage(&at("before"), name, other, own, is_verified);
                Some(Place::Before(other.clone()))
            }
            (None, Some(other)) => {
                self.other_stage(&at("after"), name, other, own, is_verified);
                Some(Place::After(other.clone()))
            }
        };
        let timeout = self.time(&at("timeout"), *timeout, TIMEOUT);
        let action = self.action(&index, table);
        Some(UserStage { name: name.clone(), place: place?, action: action?, timeout })
    }

    fn other_stage(
        &mut self,
        path: &[&str],
        name: &str,
        other: &str,
        own: &BTreeMap<&str, usize>,
        is_verified: bool,
    ) {
        if other == name {
            self.error(
                "cycle",
                format!("the stage `{name}` refers to itself"),
                path,
                "itself",
                "name another stage",
            );
        } else if other == "verify" && !is_verified {
            self.contradiction(
                format!("the stage `{name}` is placed beside `verify`, which is skipped"),
                (path, "beside `verify`"),
                (&["verify", "skip"], "skipped"),
                "place it beside `install` or `publish`",
            );
        } else if !STAGES.contains(&other) && !own.contains_key(other) {
            let known: Vec<_> =
                STAGES.iter().chain(own.keys()).copied().filter(|it| *it != name).collect();
            let help = match names::nearest(other, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there is {}", names::list(&known)),
            };
            self.error(
                "unknown-stage",
                format!("no stage is called `{other}`"),
                path,
                "unknown stage",
                help,
            );
        }
    }

    fn action(&mut self, index: &str, table: &StageTable) -> Option<UserAction> {
        let given: Vec<_> = [
            ("command", table.command.is_some()),
            ("ssh", table.ssh.is_some()),
            ("ansible", table.ansible.is_some()),
            ("external", table.external.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, is_given)| is_given.then_some(key))
        .collect();
        let kinds = "`command`, `ssh`, `ansible` and `external`";
        if given.is_empty() {
            self.error(
                "missing-key",
                format!("the stage `{}` does nothing", table.name),
                &["stages", index, "name"],
                "says nothing to do",
                format!("add one of {kinds}"),
            );
        }
        for (first, second) in given.iter().zip(given.iter().skip(1)) {
            self.contradiction(
                format!("the stage `{}` has both `{first}` and `{second}`", table.name),
                (&["stages", index, second], "and this"),
                (&["stages", index, first], "this"),
                format!("keep one of {kinds}, and make the other a stage of its own"),
            );
        }
        if let Some(it) = &table.command {
            let program: &[&str] = &["stages", index, "command", "run", "0"];
            if it.run.first().is_none_or(|it| it.trim().is_empty()) && !self.is_open(program) {
                self.error(
                    "bad-value",
                    "the program's name is empty",
                    program,
                    "here",
                    "write the program and its arguments",
                );
            }
            return Some(UserAction::Command {
                run: it.run.clone(),
                environment: it.environment.clone(),
            });
        }
        if let Some(it) = &table.ssh {
            let user = self.account(&["stages", index, "ssh", "user"], it.user.as_ref());
            return Some(UserAction::Ssh { user, run: it.run.clone(), keep: it.keep });
        }
        if let Some(it) = &table.ansible {
            let user = self.account(&["stages", index, "ansible", "user"], it.user.as_ref());
            let path: &[&str] = &["stages", index, "ansible", "playbook"];
            if !self.is_open(path) {
                self.inside(path, &it.playbook);
            }
            return Some(UserAction::Ansible {
                user,
                playbook: it.playbook.clone(),
                arguments: it.arguments.clone(),
                keep: it.keep,
            });
        }
        table.external.as_ref().map(|it| UserAction::External {
            runner: it.runner.clone(),
            input: serde_json::Value::Object(it.input.clone()),
        })
    }

    /// Stages that wait for each other.
    fn circles(&mut self, tables: &[StageTable], own: &BTreeMap<&str, usize>) {
        let mut reported = vec![false; tables.len()];
        for start in 0..tables.len() {
            let mut chain = vec![start];
            while let Some(next) =
                chain.last().and_then(|it| tables.get(*it)).and_then(|it| next_of(it, own))
            {
                if let Some(at) = chain.iter().position(|it| *it == next) {
                    let circle = chain.split_off(at);
                    // A stage that refers to itself has been reported.
                    if circle.len() > 1
                        && circle.iter().all(|it| !reported.get(*it).copied().unwrap_or(true))
                    {
                        self.circle(tables, &circle);
                        for it in circle {
                            reported[it] = true;
                        }
                    }
                    break;
                }
                chain.push(next);
            }
        }
    }

    fn circle(&mut self, tables: &[StageTable], circle: &[usize]) {
        let stages: Vec<_> =
            circle.iter().filter_map(|i| Some((i.to_string(), tables.get(*i)?))).collect();
        let names: Vec<_> = stages.iter().map(|(_, it)| it.name.as_str()).collect();
        let mut error = SpecError::new(
            "cycle",
            format!("the stages {} wait for each other", names::list(&names)),
        );
        for (index, table) in &stages {
            let key = if table.before.is_some() { "before" } else { "after" };
            error = error.at(self.span(&["stages", index.as_str(), key]), "refers to the next");
        }
        self.errors.push(error.help("place one of them beside a stage of every build"));
    }

    /// Stages in the guest need one that runs, and an image that can still change.
    fn guest(
        &mut self,
        i: usize,
        table: &StageTable,
        tables: &[StageTable],
        own: &BTreeMap<&str, usize>,
    ) {
        let (kind, keep) = match (&table.ssh, &table.ansible) {
            (Some(it), _) => ("ssh", it.keep),
            (_, Some(it)) => ("ansible", it.keep),
            _ => return,
        };
        // Follow references to a stage of every build.
        let mut at = table;
        for _ in 0..=tables.len() {
            match next_of(at, own).and_then(|it| tables.get(it)) {
                Some(next) => at = next,
                None => break,
            }
        }
        let Some(other) = at.before.as_ref().or(at.after.as_ref()) else { return };
        let Some(position) = STAGES.iter().position(|it| it == other) else { return };
        let index = i.to_string();
        let key = if table.before.is_some() { "before" } else { "after" };
        let path: &[&str] = &["stages", index.as_str(), key];
        let action: &[&str] = &["stages", index.as_str(), kind];
        let is_after = at.after.is_some();
        if position < INSTALL || (position == INSTALL && !is_after) {
            self.contradiction(
                format!("no guest runs where the stage `{}` is placed", table.name),
                (path, "before the install has ended"),
                (action, "needs a running guest"),
                "place it after `install`",
            );
        } else if keep && position == PUBLISH && is_after {
            self.contradiction(
                format!(
                    "the stage `{}` would change an image that is published already",
                    table.name
                ),
                (path, "after `publish`"),
                (action, "keeps its changes"),
                "place it after `install`, or leave `keep` out",
            );
        }
    }
}

/// The user's own stage that a stage refers to.
fn next_of(table: &StageTable, own: &BTreeMap<&str, usize>) -> Option<usize> {
    own.get(table.before.as_deref().or(table.after.as_deref())?).copied()
}
