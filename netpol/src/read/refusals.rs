//! Collects the refused fields of a policy.

use std::fmt::Display;

use super::path::Path;
use crate::{policy_name::PolicyName, refused::Refused};

/// Fields of one policy that are named.
const REFUSED_MAX: usize = 32;

pub(super) struct Refusals {
    policy: PolicyName,
    list: Vec<Refused>,
}

/// Could not be read, and was refused by its path: the caller decides how it fails closed.
#[derive(Debug)]
pub(super) struct Unreadable;

impl Refusals {
    pub(super) fn new(policy: PolicyName) -> Self {
        Self { policy, list: Vec::new() }
    }

    pub(super) fn refuse(&mut self, path: &Path<'_>, why: impl Display) -> Unreadable {
        if self.list.len() < REFUSED_MAX {
            let (policy, field, why) = (self.policy.clone(), path.to_string(), why.to_string());
            self.list.push(Refused { policy, field, why });
        }
        Unreadable
    }

    pub(super) fn into_list(self) -> Vec<Refused> {
        self.list
    }
}
