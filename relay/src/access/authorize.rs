//! Whether a user may read: a SubjectAccessReview, whose answer counts for 10 seconds.

use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::timeout;
use trilobite_crds::read_api::{GROUP, VERSION};

use super::{expiring_cache::ExpiringCache, user::User};
use crate::api_error::ApiError;

const KEPT_FOR: Duration = Duration::from_secs(10);
const MAX_DECISIONS: usize = 1024;
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// What a request does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// `get`, `list` or `watch`.
    pub verb: &'static str,
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A resource of the read API.
    Resource {
        resource: &'static str,
        /// Empty without one.
        subresource: &'static str,
        /// None for the whole cluster.
        namespace: Option<String>,
        /// Empty for all.
        name: String,
    },
    /// A path that is no resource, e.g. `/metrics`.
    Path(String),
}

#[derive(Clone, Debug)]
struct Decision {
    is_allowed: bool,
    reason: String,
}

pub struct Authorizer {
    client: Client,
    decisions: ExpiringCache<(User, Attributes), Decision>,
}

impl Authorizer {
    pub fn new(client: Client) -> Self {
        Self { client, decisions: ExpiringCache::new(KEPT_FOR, MAX_DECISIONS) }
    }

    /// Whether the user may.
    pub async fn allows(&self, user: &User, attributes: &Attributes) -> Result<bool, ApiError> {
        Ok(self.decision(user, attributes).await?.is_allowed)
    }

    /// An error in the API server's own words if the user may not.
    pub async fn check(&self, user: &User, attributes: &Attributes) -> Result<(), ApiError> {
        let decision = self.decision(user, attributes).await?;
        if decision.is_allowed { Ok(()) } else { Err(ApiError::forbidden(refusal(user, attributes, &decision.reason))) }
    }

    async fn decision(&self, user: &User, attributes: &Attributes) -> Result<Decision, ApiError> {
        let now = Instant::now();
        let key = (user.clone(), attributes.clone());
        if let Some(known) = self.decisions.get(&key, now) {
            return Ok(known);
        }
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let away = |error: &dyn std::fmt::Display| {
            // Its address is not for those who ask.
            tracing::warn!(%error, "cannot check a right");
            ApiError::unavailable("the API server does not answer the relay's question about the right")
        };
        let (parameters, review) = (PostParams::default(), review(user, attributes));
        let reviewed = timeout(REVIEW_TIMEOUT, reviews.create(&parameters, &review)).await;
        let reviewed = reviewed.map_err(|error| away(&error))?.map_err(|error| away(&error))?;
        let status = reviewed.status.unwrap_or_default();
        let decision = Decision {
            is_allowed: status.allowed && status.denied != Some(true),
            reason: status.reason.unwrap_or_default(),
        };
        self.decisions.insert(key, decision.clone(), now);
        Ok(decision)
    }
}

fn review(user: &User, attributes: &Attributes) -> SubjectAccessReview {
    let (resource, path) = match &attributes.target {
        Target::Resource { resource, subresource, namespace, name } => {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let attributes = ResourceAttributes {
                group: Some(GROUP.into()),
                version: Some(VERSION.into()),
                resource: Some((*resource).into()),
                subresource: some(subresource),
                namespace: namespace.clone(),
                name: some(name),
                verb: Some(attributes.verb.into()),
                ..ResourceAttributes::default()
            };
            (Some(attributes), None)
        }
        Target::Path(path) => {
            (None, Some(NonResourceAttributes { path: Some(path.clone()), verb: Some(attributes.verb.into()) }))
        }
    };
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: (!user.uid.is_empty()).then(|| user.uid.clone()),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            resource_attributes: resource,
            non_resource_attributes: path,
        },
        ..SubjectAccessReview::default()
    }
}

/// As the API server words it.
fn refusal(user: &User, attributes: &Attributes, reason: &str) -> String {
    let Attributes { verb, target } = attributes;
    let (user, reason) = (&user.name, if reason.is_empty() { String::new() } else { format!(": {reason}") });
    match target {
        Target::Path(path) => format!("forbidden: User {user:?} cannot {verb} path {path:?}{reason}"),
        Target::Resource { resource, subresource, namespace, name } => {
            let full =
                if subresource.is_empty() { (*resource).to_owned() } else { format!("{resource}/{subresource}") };
            let scope = match namespace {
                Some(namespace) => format!("in the namespace {namespace:?}"),
                None => "at the cluster scope".to_owned(),
            };
            let object = if name.is_empty() { String::new() } else { format!(" {name:?}") };
            format!(
                "{resource}.{GROUP}{object} is forbidden: User {user:?} cannot {verb} resource {full:?} in API group {GROUP:?} {scope}{reason}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(namespace: Option<&str>, subresource: &'static str, name: &str) -> Attributes {
        let target = Target::Resource {
            resource: "flows",
            subresource,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        Attributes { verb: "list", target }
    }

    fn zoe() -> User {
        User {
            name: "zoe".into(),
            uid: "7".into(),
            groups: vec!["dev".into()],
            extra: [("scopes".to_owned(), vec!["a".to_owned()])].into(),
        }
    }

    #[test]
    fn refusal_is_worded_as_by_the_api_server() {
        assert_eq!(
            refusal(&zoe(), &attributes(Some("payments"), "", ""), ""),
            r#"flows.read.trilobite.dev is forbidden: User "zoe" cannot list resource "flows" in API group "read.trilobite.dev" in the namespace "payments""#
        );
        assert_eq!(
            refusal(&zoe(), &attributes(None, "x", "n"), "no rule"),
            r#"flows.read.trilobite.dev "n" is forbidden: User "zoe" cannot list resource "flows/x" in API group "read.trilobite.dev" at the cluster scope: no rule"#
        );
        let path = Attributes { verb: "get", target: Target::Path("/metrics".into()) };
        assert_eq!(refusal(&zoe(), &path, ""), r#"forbidden: User "zoe" cannot get path "/metrics""#);
    }

    #[test]
    fn review_carries_all_that_is_known_of_the_user() {
        let review = review(&zoe(), &attributes(Some("payments"), "", ""));
        let resource = review.spec.resource_attributes.unwrap();
        assert_eq!(resource.namespace.as_deref(), Some("payments"));
        assert_eq!((resource.name, resource.subresource), (None, None));
        assert_eq!(resource.group.as_deref(), Some("read.trilobite.dev"));
        assert_eq!(review.spec.uid.as_deref(), Some("7"));
        assert_eq!(review.spec.extra.unwrap()["scopes"], ["a"]);
        assert_eq!(review.spec.groups.unwrap(), ["dev"]);
    }
}
