//! `StackError`: the errors of all phases.

use super::{apply::ApplyError, dereference::DereferenceError, teardown::TeardownError};
use crate::{certificate_authority::AuthorityError, controllers::runner::ReconcileError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum StackError {
    #[error(transparent)]
    Dereference(#[from] DereferenceError),
    #[error("the CA of the read API: {0}")]
    Build(#[from] AuthorityError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Teardown(#[from] TeardownError),
    #[error("adding or removing the stack's finalizer: {0}")]
    Finalizer(String),
}

impl ReconcileError for StackError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Dereference(error) => error.reason(),
            Self::Build(_) => "Build",
            Self::Apply(error) => error.reason(),
            Self::Teardown(_) => "Teardown",
            Self::Finalizer(_) => "Finalizer",
        }
    }
}

impl StackError {
    /// Whether the operator lacks the permission.
    pub(super) fn is_denied(&self) -> bool {
        let cause = match self {
            Self::Dereference(error) => error.cause(),
            Self::Apply(error) => error.cause(),
            Self::Build(_) | Self::Teardown(_) | Self::Finalizer(_) => return false,
        };
        matches!(cause, kube::Error::Api(status) if status.code == 403)
    }
}
