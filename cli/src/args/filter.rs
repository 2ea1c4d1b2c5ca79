//! Which pods and which node.

use clap::Args;

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FilterArgs {
    /// Only pods of this namespace.
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// Only pods whose name begins with this, as POD or NAMESPACE/POD.
    #[arg(long)]
    pub(crate) pod: Option<String>,
    /// Only this node's agent.
    #[arg(long)]
    pub(crate) node: Option<String>,
}

impl FilterArgs {
    /// Namespace and prefix of the pod's name, given by either flag.
    pub(crate) fn pod(&self) -> (Option<&str>, Option<&str>) {
        match self.pod.as_deref().map(|pod| pod.split_once('/').ok_or(pod)) {
            None => (self.namespace.as_deref(), None),
            Some(Err(pod)) => (self.namespace.as_deref(), Some(pod)),
            Some(Ok((namespace, pod))) => {
                let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
                (namespace.or(self.namespace.as_deref()), Some(pod).filter(|pod| !pod.is_empty()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_may_be_given_with_or_without_its_namespace() {
        let filter = |namespace: Option<&str>, pod: Option<&str>| FilterArgs {
            namespace: namespace.map(Into::into),
            pod: pod.map(Into::into),
            node: None,
        };
        assert_eq!(filter(Some("shop"), None).pod(), (Some("shop"), None));
        assert_eq!(filter(Some("shop"), Some("till")).pod(), (Some("shop"), Some("till")));
        assert_eq!(filter(None, Some("shop/till")).pod(), (Some("shop"), Some("till")));
        assert_eq!(filter(None, Some("shop/")).pod(), (Some("shop"), None));
        assert_eq!(
            filter(None, Some("/till")).pod(),
            (None, Some("till")),
            "a pod of any namespace, and no process of the host"
        );
        assert_eq!(filter(Some("shop"), Some("/till")).pod(), (Some("shop"), Some("till")));
    }
}
