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
}

pub(super) async fn run(
    sessions: Sessions<Prepared>,
    owner_uid: &str,
    client: &Client,
) -> Result<Sessions<Applied>, Error> {
    let Sessions { give, take, nodes, phase: PhantomData } = sessions;
    for (target, session) in &give {
        session_patch::give(client, target, owner_uid, session).await.map_err(|source| Error::Give {
            name: session.name.clone(),
            node: target.node.clone(),
            source,
        })?;
    }
    for (target, name) in &take {
        session_patch::take(client, target, name).await.map_err(|source| Error::Take {
            name: name.clone(),
            node: target.node.clone(),
            source,
        })?;
    }
    Ok(Sessions { give, take, nodes, phase: PhantomData })
}
