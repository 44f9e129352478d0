//! How a server is reached over SSH: a key that it lets in, a security group that
//! lets SSH through, and an address. All of them are made for one build.

use std::time::Instant;

use super::{CloudError, OpenstackRunner, deadline, of};
use crate::{
    engine::{StageCx, StageError},
    model::Openstack,
    openstack::{
        compute::{NewServer, Until},
        network::Rule,
    },
    plan::{Stage, openstack::makes_group},
    runner::qemu::Reach,
};

/// What SSH servers listen on.
const SSH: u16 = 22;

/// How a server lets SSH in.
pub(super) struct Doors {
    keypair: Option<String>,
    security_groups: Vec<String>,
}

impl Doors {
    /// Gives them to a server that is to be made.
    pub(super) fn into(self, new: &mut NewServer) {
        new.keypair = self.keypair;
        new.security_groups = self.security_groups;
    }
}

impl OpenstackRunner {
    /// Makes what a server needs so that it can be reached. To be called before the
    /// server is claimed: what is claimed last is given back first, and a security
    /// group cannot go while a server's port is in it.
    pub(super) async fn open_to_ssh(
        &self,
        stage: &Stage,
        settings: &Openstack,
        cx: &mut StageCx<'_>,
    ) -> Result<Doors, StageError> {
        let cloud = self.cloud(cx);
        let mut doors = Doors { keypair: None, security_groups: settings.security_groups.clone() };
        if let Some(key) = &self.local.context.key {
            let label = format!("{}-keypair", stage.name);
            let resource = self.local.claim(stage, &label, cx)?;
            let made = cloud.compute().create_keypair(&resource.name, &key.public).await;
            let made = made.map_err(of)?;
            cx.confirm(&label, &made.name)?;
            doors.keypair = Some(made.name);
        }
        if makes_group(settings) {
            let label = format!("{}-group", stage.name);
            let resource = self.local.claim(stage, &label, cx)?;
            let rules = [Rule::tcp(SSH)];
            let made = cloud.networks().create_security_group(&resource.name, &rules).await;
            let made = made.map_err(of)?;
            cx.confirm(&label, &made.id)?;
            doors.security_groups = vec![made.id];
        }
        Ok(doors)
    }

    /// The address of a server that was just made: a floating one where the spec
    /// names a network for it, else its own. It has to let us in by then.
    pub(super) async fn address(
        &self,
        stage: &Stage,
        settings: &Openstack,
        server: &str,
        until: Instant,
        cx: &mut StageCx<'_>,
    ) -> Result<Reach, StageError> {
        let cloud = self.cloud(cx);
        cloud.compute().wait(server, Until::Active, deadline(stage)).await.map_err(of)?;
        let ports = cloud.networks().ports_of_server(server).await.map_err(of)?;
        let lacks = || StageError::of(CloudError::NoAddress { server: server.to_owned() });
        let port = ports.into_iter().find(|it| !it.fixed_ips.is_empty()).ok_or_else(lacks)?;
        let Some(network) = &settings.floating_ip else {
            let own = port.fixed_ips.into_iter().next().ok_or_else(lacks)?;
            return Ok(Reach { host: own.ip_address, port: SSH, until });
        };
        let network = cloud.networks().network(network).await.map_err(of)?;
        let label = format!("{}-address", stage.name);
        let resource = self.local.claim(stage, &label, cx)?;
        let made = cloud.networks().create_floating_ip(&resource.name, &network.id, &port.id).await;
        let made = made.map_err(of)?;
        cx.confirm(&label, &made.id)?;
        Ok(Reach { host: made.floating_ip_address, port: SSH, until })
    }

    /// Gives back what reached the server of a stage, which is gone.
    pub(super) async fn close_to_ssh(
        &self,
        stage: &str,
        cx: &mut StageCx<'_>,
    ) -> Result<(), StageError> {
        for what in ["address", "group", "keypair"] {
            self.give_back(&format!("{stage}-{what}"), cx).await?;
        }
        Ok(())
    }
}
