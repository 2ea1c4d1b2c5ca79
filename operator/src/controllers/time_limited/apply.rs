//! Adds the session of an AppProfile or FlowCapture to the NodeRuntime of each node that it is for, and removes it from the others.

use std::marker::PhantomData;

use kube::Client;

use super::{
    build::Sessions,
    session_patch::{add_session, remove_session},
};
use crate::controllers::{
    phase::{Applied, Prepared},
    runner::ReconcileError,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("adding session {name} to noderuntime {node}: {source}")]
    Add { name: String, node: String, source: kube::Error },
    #[error("removing session {name} from noderuntime {node}: {source}")]
    Remove { name: String, node: String, source: kube::Error },
    #[error("deleting {kind} {name}, whose ttlSecondsAfterFinished is over: {source}")]
    Delete { kind: String, name: String, source: kube::Error },
}

impl ReconcileError for SessionError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Add { .. } => "GiveSession",
            Self::Remove { .. } => "TakeSession",
            Self::Delete { .. } => "Delete",
        }
    }
}

impl SessionError {
    /// Whether the operator lacks the permission.
    pub(super) fn is_denied(&self) -> bool {
        let (Self::Add { source, .. } | Self::Remove { source, .. } | Self::Delete { source, .. }) = self;
        matches!(source, kube::Error::Api(status) if status.code == 403)
    }
}

/// Returns the applied sessions and the errors; a node that fails does not keep the others from being updated.
pub(super) async fn apply(
    sessions: Sessions<Prepared>,
    owner_uid: &str,
    client: &Client,
) -> (Sessions<Applied>, Vec<SessionError>) {
    let Sessions { remove, add, nodes, full_nodes, out_of_scope, phase: PhantomData } = sessions;
    let mut errors = Vec::new();
    for (runtime, name) in &remove {
        if let Err(source) = remove_session(client, runtime, name).await {
            errors.push(SessionError::Remove { name: name.clone(), node: runtime.node.clone(), source });
        }
    }
    for (runtime, session) in &add {
        if let Err(source) = add_session(client, runtime, owner_uid, session).await {
            errors.push(SessionError::Add { name: session.name.clone(), node: runtime.node.clone(), source });
        }
    }
    (Sessions { remove, add, nodes, full_nodes, out_of_scope, phase: PhantomData }, errors)
}
