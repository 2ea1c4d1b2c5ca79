//! Gives the session to nodes and takes it from nodes.

use std::marker::PhantomData;

use kube::Client;

use super::{
    build::{Applied, Prepared, Sessions},
    session_patch,
};

/// What was being done, and on which node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("giving session {name} to node {node}: {source}")]
    Give { name: String, node: String, source: kube::Error },
    #[error("taking session {name} from node {node}: {source}")]
    Take { name: String, node: String, source: kube::Error },
}

impl Error {
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::Give { .. } => "GiveSession",
            Self::Take { .. } => "TakeSession",
        }
    }

    /// Whether the API server denies it.
    pub(super) fn is_denied(&self) -> bool {
        let (Self::Give { source, .. } | Self::Take { source, .. }) = self;
        matches!(source, kube::Error::Api(status) if status.code == 403)
    }
}

/// What was applied, and what was not: a node that refuses hinders no other.
pub(super) async fn run(
    sessions: Sessions<Prepared>,
    owner_uid: &str,
    client: &Client,
) -> (Sessions<Applied>, Vec<Error>) {
    let Sessions { take, give, nodes, full, out_of_scope, phase: PhantomData } = sessions;
    let mut errors = Vec::new();
    for (target, name) in &take {
        if let Err(source) = session_patch::take(client, target, name).await {
            errors.push(Error::Take { name: name.clone(), node: target.node.clone(), source });
        }
    }
    for (target, session) in &give {
        if let Err(source) = session_patch::give(client, target, owner_uid, session).await {
            errors.push(Error::Give { name: session.name.clone(), node: target.node.clone(), source });
        }
    }
    (Sessions { take, give, nodes, full, out_of_scope, phase: PhantomData }, errors)
}
