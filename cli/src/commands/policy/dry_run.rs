//! A policy with the annotation of a dry run: created beside the one that it is a copy of, read, deleted.

use std::{fmt, fmt::Debug, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};
use tokio::time::timeout;
use trilobite_crds::{
    Resource, ResourceStatus, TracingPolicy, TracingPolicyNamespaced, TracingPolicySpec, UserKind, node::Source,
    policy::NamespacedSpec, user_kind::DRY_RUN_ANNOTATION,
};

use crate::{cluster::ClusterError, output::stderr::stderr_line};

/// Limit for each request to the API server.
const API_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit of characters of the policy's name in the copy's name.
const NAME_LIMIT: usize = 200;

/// A policy of a file.
#[derive(Clone, Debug)]
pub(super) struct CheckedPolicy {
    source: Source,
    spec: TracingPolicySpec,
}

impl CheckedPolicy {
    /// None for another kind.
    pub(super) fn new(resource: &Resource) -> Option<Self> {
        let spec = match resource {
            Resource::Policy(policy) => policy.spec.clone(),
            Resource::NamespacedPolicy(policy) => policy.spec.0.clone(),
            Resource::CiliumPolicy(policy) => policy.spec.0.clone(),
            Resource::CiliumNamespacedPolicy(policy) => policy.spec.0.clone(),
            Resource::Stack(_) | Resource::Capture(_) | Resource::Profile(_) => return None,
        };
        Some(Self { source: resource.source(), spec })
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.source.namespace.as_deref()
    }
}

impl fmt::Display for CheckedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)
    }
}

/// The copy that nodes check. Of trilobite.dev also where the policy is of cilium.io, whose kinds a cluster need not know.
#[derive(Clone, Debug)]
pub(super) enum DryRun {
    Cluster(Box<TracingPolicy>),
    Namespaced(Box<TracingPolicyNamespaced>),
}

/// What the API server has of a copy.
pub(super) struct Observed {
    pub(super) generation: i64,
    pub(super) status: Option<ResourceStatus>,
}

impl DryRun {
    pub(super) fn new(policy: &CheckedPolicy, now: Timestamp) -> Self {
        let name = &policy.source.name;
        let begin = name.get(..NAME_LIMIT).unwrap_or(name).trim_end_matches(['-', '.']);
        let name = format!("{begin}-check-{:x}", now.as_millisecond());
        match policy.namespace() {
            None => Self::Cluster(Box::new(marked(TracingPolicy::new(&name, policy.spec.clone())))),
            Some(namespace) => {
                let spec = NamespacedSpec(policy.spec.clone());
                let mut copy = marked(TracingPolicyNamespaced::new(&name, spec));
                copy.metadata.namespace = Some(namespace.to_owned());
                Self::Namespaced(Box::new(copy))
            }
        }
    }

    pub(super) async fn create(&self, client: &Client) -> Result<(), ClusterError> {
        match self {
            Self::Cluster(copy) => create(&Api::all(client.clone()), &**copy).await,
            Self::Namespaced(copy) => create(&Api::namespaced(client.clone(), &namespace(copy)), &**copy).await,
        }
    }

    pub(super) async fn read(&self, client: &Client) -> Result<Observed, ClusterError> {
        match self {
            Self::Cluster(copy) => read(&Api::all(client.clone()), &**copy).await,
            Self::Namespaced(copy) => read(&Api::namespaced(client.clone(), &namespace(copy)), &**copy).await,
        }
    }

    /// A failure is a warning: a copy loads nothing.
    pub(super) async fn delete(&self, client: &Client) {
        match self {
            Self::Cluster(copy) => delete(&Api::all(client.clone()), &**copy).await,
            Self::Namespaced(copy) => delete(&Api::namespaced(client.clone(), &namespace(copy)), &**copy).await,
        }
    }
}

fn marked<K: kube::Resource>(mut copy: K) -> K {
    copy.annotations_mut().insert(DRY_RUN_ANNOTATION.into(), "true".into());
    copy.labels_mut().insert("app.kubernetes.io/managed-by".into(), "trilobite-cli".into());
    copy
}

fn namespace(copy: &TracingPolicyNamespaced) -> String {
    copy.metadata.namespace.clone().unwrap_or_default()
}

/// The two kinds.
trait Policy: UserKind + Clone + Debug + serde::Serialize + serde::de::DeserializeOwned {}

impl Policy for TracingPolicy {}
impl Policy for TracingPolicyNamespaced {}

async fn create<K: Policy>(api: &Api<K>, copy: &K) -> Result<(), ClusterError> {
    let doing = format!("create the dry run {}", copy.name_any());
    within(doing, &K::plural(&()), api.create(&PostParams::default(), copy)).await.map(drop)
}

async fn read<K: Policy>(api: &Api<K>, copy: &K) -> Result<Observed, ClusterError> {
    let name = copy.name_any();
    let object = within(format!("read the dry run {name}"), &K::plural(&()), api.get(&name)).await?;
    let generation = object.meta().generation.unwrap_or(1);
    Ok(Observed { generation, status: object.common_status().cloned() })
}

async fn delete<K: Policy>(api: &Api<K>, copy: &K) {
    let (name, plural) = (copy.name_any(), K::plural(&()));
    let failed = match timeout(API_TIMEOUT, api.delete(&name, &DeleteParams::default())).await {
        Ok(Ok(_)) => return,
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the API server does not answer".into(),
    };
    let namespace = copy.meta().namespace.as_deref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    stderr_line!("warning: a dry run could not be deleted ({failed}); run: kubectl delete {plural}{namespace} {name}");
}

async fn within<T>(
    doing: String,
    plural: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, ClusterError> {
    match timeout(API_TIMEOUT, request).await {
        Ok(done) => done.map_err(|error| ClusterError::new(doing, plural, error)),
        Err(_) => Err(ClusterError::Api { doing, detail: "the API server does not answer".into() }),
    }
}

#[cfg(test)]
mod tests {
    use trilobite_crds::{parse_documents, user_kind::is_dry_run};

    use super::*;

    fn policy(kind: &str, metadata: &str) -> CheckedPolicy {
        let yaml = format!(
            "apiVersion: cilium.io/v1alpha1\nkind: {kind}\nmetadata: {metadata}\nspec: {{tracepoints: [{{subsystem: sched, event: sched_switch}}]}}\n"
        );
        CheckedPolicy::new(&parse_documents(&yaml, "test").unwrap()[0]).unwrap()
    }

    #[test]
    fn copy_is_a_dry_run_of_another_name() {
        let now = Timestamp::from_millisecond(0x18f).unwrap();
        let DryRun::Cluster(copy) = DryRun::new(&policy("TracingPolicy", "{name: watch-ink}"), now) else { panic!() };
        assert_eq!(copy.name_any(), "watch-ink-check-18f");
        assert!(is_dry_run(&copy.metadata));
        let namespaced = policy("TracingPolicyNamespaced", "{name: watch-ink, namespace: shop}");
        let DryRun::Namespaced(copy) = DryRun::new(&namespaced, now) else { panic!() };
        assert_eq!(copy.namespace().as_deref(), Some("shop"));
        assert!(is_dry_run(&copy.metadata));
    }

    #[test]
    fn long_name_is_cut_where_a_name_may_end() {
        let long = policy("TracingPolicy", &format!("{{name: {}-{}}}", "t".repeat(199), "x".repeat(50)));
        let DryRun::Cluster(copy) = DryRun::new(&long, Timestamp::UNIX_EPOCH) else { panic!() };
        assert_eq!(copy.name_any(), format!("{}-check-0", "t".repeat(199)));
    }
}
