//! Stages `ssh` and `ansible`: work in the installed server before it is captured.
//!
//! The server that was installed is started again, reached, and switched off from
//! inside, so that what it changed is on its disk.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{OpenstackRunner, deadline, of, said};
use crate::{
    console::{
        knowledge::Knowledge,
        watch::{Budgets, Condition, Purpose, Watch},
    },
    engine::{StageCx, StageError},
    model::UserAction,
    openstack::compute::Until,
    plan::Stage,
    runner::qemu::{Meanwhile, knowledge_error, let_in_by},
};

/// How long a guest may take to switch itself off, before Nova asks it to.
const POWER_OFF: Duration = Duration::from_mins(3);

impl OpenstackRunner {
    pub(super) async fn in_server(
        &self,
        stage: &Stage,
        action: &UserAction,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let cloud = self.cloud(cx);
        let context = &self.local.context;
        let server = said(cx, "install", "server")?;
        let total = stage.timeout.duration();
        let until = let_in_by(total);
        cloud.compute().start(&server).await.map_err(of)?;
        let settings = self.settings();
        let reach = self.address(stage, &settings, &server, until, cx).await?;
        cx.teller().info(format!("the server is reached at {}", reach.host));
        let watch = Watch {
            purpose: Purpose::Verify(Condition::Elsewhere),
            installer: None,
            budgets: Budgets { phases: BTreeMap::new(), idle: total, total },
            emulator: None,
        };
        let knowledge = Knowledge::shared(&context.build.console).map_err(knowledge_error)?;
        let (teller, cancel) = (cx.teller().clone(), cx.cancel.clone());
        let way = reach.clone();
        let work: Meanwhile<'_> =
            Box::pin(async move { self.local.work(stage, action, &way, &teller, &cancel).await });
        let log = format!("console-{}.log", stage.name);
        self.watched(&server, &log, knowledge, watch, Some(work), cx).await?;
        self.local.ask_to_go_off(action, &reach, &cx.cancel).await;
        let patience = Instant::now() + POWER_OFF;
        match cloud.compute().wait(&server, Until::Off, patience.min(deadline(stage))).await {
            Ok(_) => {}
            Err(crate::openstack::Error::Cancelled) => return Err(StageError::Cancelled),
            // Nova has its own way to ask, and at last none.
            Err(_) => {
                cloud.compute().stop(&server).await.map_err(of)?;
                cloud.compute().wait(&server, Until::Off, deadline(stage)).await.map_err(of)?;
            }
        }
        self.give_back(&format!("{}-address", stage.name), cx).await?;
        Ok(serde_json::Value::Null)
    }
}
