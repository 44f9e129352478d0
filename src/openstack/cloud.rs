//! A cloud and its services.

use tokio::time::Instant;

use super::{
    CloudConfig, Error, Patience, compute::Compute, image::Images, limits::Limits,
    network::Networks, release::Which, session::Session, volume::Volumes,
};
use crate::{
    CancellationToken,
    engine::{Resource, ResourceKind},
};

/// A cloud. Clones share its connections and its token.
#[derive(Clone, Debug)]
pub struct Cloud {
    session: Session,
}

impl Cloud {
    /// A cloud, by how it is reached; nothing is sent yet. `cancel` ends every
    /// wait.
    pub fn new(
        config: CloudConfig,
        patience: Patience,
        cancel: CancellationToken,
    ) -> Result<Self, Error> {
        Ok(Self { session: Session::new(config, patience, cancel)? })
    }

    /// The same cloud, with waits ended by another token: undoing goes on
    /// after the user has cancelled a build.
    #[must_use]
    pub fn under(&self, cancel: CancellationToken) -> Self {
        Self { session: self.session.under(cancel) }
    }

    /// The conversation with it: token, project, roles, versions.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Glance.
    pub fn images(&self) -> Images<'_> {
        Images::new(&self.session)
    }

    /// Nova.
    pub fn compute(&self) -> Compute<'_> {
        Compute::new(&self.session)
    }

    /// Neutron.
    pub fn networks(&self) -> Networks<'_> {
        Networks::new(&self.session)
    }

    /// Cinder.
    pub fn volumes(&self) -> Volumes<'_> {
        Volumes::new(&self.session)
    }

    /// What may still be made of everything.
    pub async fn limits(&self) -> Result<Limits, Error> {
        super::limits::limits(&self.session).await
    }

    /// Gives back what a build claimed: by its ID, and by its name where that
    /// was never learnt. What is gone already is a success.
    pub async fn release(&self, resource: &Resource, deadline: Instant) -> Result<(), Error> {
        let which = resource.id.as_deref().map_or(Which::Name(&resource.name), Which::Id);
        match resource.kind {
            ResourceKind::Server => self.compute().release_server(which, deadline).await,
            ResourceKind::Keypair => self.compute().release_keypair(&resource.name).await,
            ResourceKind::Port => self.networks().release_port(which, deadline).await,
            ResourceKind::SecurityGroup => {
                self.networks().release_security_group(which, deadline).await
            }
            ResourceKind::FloatingIp => self.networks().release_floating_ip(which, deadline).await,
            ResourceKind::Volume => self.volumes().release(which, deadline).await,
            ResourceKind::Snapshot => self.volumes().release_snapshot(which, deadline).await,
            ResourceKind::Image => self.images().release(which, deadline).await,
            // Not of a cloud.
            ResourceKind::File
            | ResourceKind::Folder
            | ResourceKind::Machine
            | ResourceKind::External(_) => Ok(()),
        }
    }
}
