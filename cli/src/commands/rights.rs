//! Asks the API server whether the user has the rights that a command needs at its end, before it starts any work.

use std::fmt;

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};
use trilobite_crds::read_api;

use crate::cluster::ClusterError;

/// A verb on a resource of one namespace, or of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    /// Empty for none.
    subresource: &'static str,
    /// Empty for the cluster.
    namespace: String,
}

impl Right {
    pub(super) fn appprofiles(verb: &'static str, namespace: &str) -> Self {
        let (group, resource) = (trilobite_crds::GROUP, "appprofiles");
        Self { verb, group, resource, subresource: "", namespace: namespace.into() }
    }

    /// Cluster-wide policies, or those of a namespace.
    pub(super) fn policies(verb: &'static str, namespace: Option<&str>) -> Self {
        let resource = if namespace.is_some() { "tracingpoliciesnamespaced" } else { "tracingpolicies" };
        let namespace = namespace.unwrap_or_default().to_owned();
        Self { verb, group: trilobite_crds::GROUP, resource, subresource: "", namespace }
    }

    pub(super) fn pods(verb: &'static str, namespace: &str) -> Self {
        Self { verb, group: "", resource: "pods", subresource: "", namespace: namespace.into() }
    }

    /// What an exec in an agent's pod takes: an exec over a WebSocket is a `get` for the API server, which from
    /// Kubernetes 1.35 on also asks for `create`, as do the roles that people write.
    pub(super) fn exec(namespace: &str) -> [Self; 2] {
        ["create", "get"].map(|verb| Self { subresource: "exec", ..Self::pods(verb, namespace) })
    }

    /// What reading the result of a profile takes, by the read API or from the agents.
    pub(super) fn to_fetch_results(namespace: &str, trilobite_namespace: &str, by_read_api: bool) -> Vec<Self> {
        if !by_read_api {
            let [create_exec, get_exec] = Self::exec(trilobite_namespace);
            return vec![Self::pods("list", trilobite_namespace), create_exec, get_exec];
        }
        let profiles = |subresource| Self {
            verb: "get",
            group: read_api::GROUP,
            resource: "profiles",
            subresource,
            namespace: namespace.into(),
        };
        vec![profiles(""), profiles("folded")]
    }

    fn attributes(&self) -> ResourceAttributes {
        let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        ResourceAttributes {
            verb: set(self.verb),
            group: set(self.group),
            resource: set(self.resource),
            subresource: set(self.subresource),
            namespace: set(&self.namespace),
            ..ResourceAttributes::default()
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match self.namespace.as_str() {
            "" => write!(f, " in the cluster"),
            namespace => write!(f, " in namespace {namespace}"),
        }
    }
}

/// Fails if one of the rights is denied. `doing` needs them.
pub(super) async fn require_rights(client: &Client, doing: &str, rights: &[Right]) -> Result<(), ClusterError> {
    let denied = join_all(rights.iter().map(|right| is_denied(client, right))).await;
    let missing: Vec<String> =
        rights.iter().zip(denied).filter(|(_, denied)| *denied).map(|(right, _)| right.to_string()).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(ClusterError::MissingRights { doing: doing.into(), rights: missing.join("; ") }),
    }
}

/// Only a clear no counts: an API server that does not answer the question answers the request itself.
async fn is_denied(client: &Client, right: &Right) -> bool {
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(right.attributes()), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    answer.ok().and_then(|review| review.status).is_some_and(|status| !status.allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_is_named_by_verb_and_resource() {
        assert_eq!(
            Right::appprofiles("create", "shop").to_string(),
            "create appprofiles.trilobite.dev in namespace shop"
        );
        assert_eq!(Right::policies("get", None).to_string(), "get tracingpolicies.trilobite.dev in the cluster");
        assert_eq!(Right::exec("fossils")[0].to_string(), "create pods/exec in namespace fossils");
    }

    #[test]
    fn tenant_needs_no_exec_where_the_read_api_is_served() {
        let rights = |by_read_api| -> Vec<String> {
            let rights = Right::to_fetch_results("shop", "fossils", by_read_api);
            rights.iter().map(ToString::to_string).collect()
        };
        let of_the_api = [
            "get profiles.read.trilobite.dev in namespace shop",
            "get profiles/folded.read.trilobite.dev in namespace shop",
        ];
        assert_eq!(rights(true), of_the_api);
        assert!(rights(false).contains(&"create pods/exec in namespace fossils".to_owned()));
    }
}
