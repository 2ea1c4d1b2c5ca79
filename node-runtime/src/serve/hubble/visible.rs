//! What a scope shows of a flow. A flow of a pod in one of the scope's namespaces is shown; of an end in another namespace the
//! namespace and the pod's name are. Filters see the flow as it is shown: otherwise the answer to a filter would tell what
//! is withheld.

use std::sync::Arc;

use trilobite_api::read_scope::ReadScope;

use crate::layers::network::{
    endpoint::{Endpoint, Reserved},
    flow::{Event, Flow, PolicyName},
};

/// Whether the scope shows the flow at all. An end without a pod, e.g. the API server, whose Service is in `default`, makes no
/// flow its namespace's own.
pub(super) fn is_visible(flow: &Flow, scope: &ReadScope) -> bool {
    let is_own = |end: &Endpoint| !end.pod.is_empty() && scope.allows(&end.namespace);
    scope.is_everything() || is_own(&flow.source_endpoint) || is_own(&flow.destination_endpoint)
}

/// The flow as the scope shows it; none if no pod at its ends is in the scope.
pub(super) fn visible(flow: &Arc<Flow>, scope: &ReadScope) -> Option<Arc<Flow>> {
    if scope.is_everything() {
        return Some(Arc::clone(flow));
    }
    if !is_visible(flow, scope) {
        return None;
    }
    match (scope.allows(&flow.source_endpoint.namespace), scope.allows(&flow.destination_endpoint.namespace)) {
        (false, false) => None,
        (true, true) => Some(Arc::clone(flow)),
        (false, true) => Some(reduced(flow, scope, |flow| {
            flow.source_endpoint = name_only(&flow.source_endpoint);
            flow.source_service = None;
            flow.source_mac = [0; 6];
            // Names are of the end that looked them up.
            flow.destination_names = None;
        })),
        (true, false) => Some(reduced(flow, scope, |flow| {
            flow.destination_endpoint = name_only(&flow.destination_endpoint);
            flow.destination_service = None;
            flow.destination_mac = [0; 6];
            flow.source_names = None;
        })),
    }
}

fn reduced(flow: &Flow, scope: &ReadScope, withhold: impl FnOnce(&mut Flow)) -> Arc<Flow> {
    let mut flow = flow.clone();
    withhold(&mut flow);
    withhold_policies(&mut flow.event, scope);
    Arc::new(flow)
}

/// Policies of other namespaces are not named outside of them; those of the whole cluster are.
fn withhold_policies(event: &mut Event, scope: &ReadScope) {
    let policies = match event {
        Event::Forwarded(_) | Event::L7(_) => return,
        Event::Dropped(dropped) => &mut dropped.policies,
        Event::PolicyVerdict(verdict) => &mut verdict.policies,
    };
    let is_shown = |policy: &PolicyName| policy.namespace.is_empty() || scope.allows(&policy.namespace);
    policies.allowed_by.retain(is_shown);
    policies.denied_by.retain(is_shown);
}

/// Namespace and name of a pod. An end that is no pod, e.g. the world or a node, belongs to no tenant and stays whole.
fn name_only(endpoint: &Arc<Endpoint>) -> Arc<Endpoint> {
    if endpoint.pod.is_empty() && Reserved::is_reserved(endpoint.identity) {
        return Arc::clone(endpoint);
    }
    Arc::new(Endpoint { namespace: endpoint.namespace.clone(), pod: endpoint.pod.clone(), ..Endpoint::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::{
        PolicyAction,
        samples::{drop_by_policy, policy_verdict, syn},
    };

    fn shown(flow: Flow, scope: &str) -> Option<Flow> {
        let (flow, scope) = (Arc::new(flow), ReadScope::parse(scope).unwrap());
        let shown = visible(&flow, &scope);
        assert_eq!(is_visible(&flow, &scope), shown.is_some());
        shown.map(Arc::unwrap_or_clone)
    }

    #[test]
    fn flow_between_other_namespaces_is_not_shown() {
        assert_eq!(shown(syn(), "reef,shop2"), None);
        assert_eq!(shown(syn(), "*"), Some(syn()));
        assert_eq!(shown(syn(), "shop,store"), Some(syn()));
    }

    #[test]
    fn other_end_keeps_namespace_and_name_alone() {
        let name = |namespace: &str, pod: &str| Endpoint {
            namespace: namespace.into(),
            pod: pod.into(),
            ..Endpoint::default()
        };
        let from_shop = shown(syn(), "shop").unwrap();
        assert_eq!(from_shop.source_endpoint, syn().source_endpoint);
        assert_eq!(*from_shop.destination_endpoint, name("store", "cart-1"));
        assert_eq!((&from_shop.destination_service, from_shop.destination_mac), (&None, [0; 6]));
        let from_store = shown(syn(), "store").unwrap();
        assert_eq!(*from_store.source_endpoint, name("shop", "front-1"));
        assert_eq!(from_store.destination_endpoint, syn().destination_endpoint);
        assert_eq!(from_store.destination_service, syn().destination_service);
    }

    #[test]
    fn policy_of_another_namespace_is_not_named() {
        let denied_by = |flow: Flow| match flow.event {
            Event::Dropped(dropped) => dropped.policies.denied_by.into_iter().map(|policy| policy.name).collect(),
            Event::PolicyVerdict(verdict) => verdict.policies.denied_by.into_iter().map(|policy| policy.name).collect(),
            Event::Forwarded(_) | Event::L7(_) => Vec::new(),
        };
        for flow in [drop_by_policy(), policy_verdict(PolicyAction::Denied)] {
            assert_eq!(denied_by(shown(flow.clone(), "store").unwrap()), ["default-deny"]);
            assert_eq!(denied_by(shown(flow.clone(), "shop").unwrap()), [""; 0]);
            let mut of_cluster = flow;
            match &mut of_cluster.event {
                Event::Dropped(dropped) => dropped.policies.denied_by[0].namespace.clear(),
                Event::PolicyVerdict(verdict) => verdict.policies.denied_by[0].namespace.clear(),
                Event::Forwarded(_) | Event::L7(_) => {}
            }
            assert_eq!(denied_by(shown(of_cluster, "shop").unwrap()), ["default-deny"]);
        }
    }

    #[test]
    fn names_are_shown_with_the_end_that_looked_them_up() {
        let names = |name: &str| Some(Arc::new(vec![name.to_owned()]));
        let named = Flow { source_names: names("front"), destination_names: names("cart"), ..syn() };
        let shown_to = |scope: &str| {
            let shown = shown(named.clone(), scope).unwrap();
            (shown.source_names, shown.destination_names)
        };
        assert_eq!(shown_to("shop"), (None, names("cart")), "the source is shop's, and looked up the destination");
        assert_eq!(shown_to("store"), (names("front"), None));
        assert_eq!(shown_to("shop,store"), (names("front"), names("cart")));
    }

    fn api_server() -> Endpoint {
        Endpoint { namespace: "default".into(), ..Endpoint::reserved(Reserved::KubeApiserver) }
    }

    #[test]
    fn end_without_a_pod_belongs_to_no_tenant() {
        let service = Endpoint::service("store", "cart", [("app", "cart")].into_iter());
        for (end, scope) in [(api_server(), "default"), (service, "store")] {
            let mut outgoing = syn();
            outgoing.destination_endpoint = Arc::new(end.clone());
            assert_eq!(shown(outgoing.clone(), scope), None, "{end:?}");
            let both = shown(outgoing.clone(), &format!("shop,{scope}"));
            assert_eq!(both, Some(outgoing), "whole to who may read both");
            let mut incoming = syn();
            incoming.source_endpoint = Arc::new(end);
            incoming.destination_endpoint = Arc::new(Endpoint::reserved(Reserved::World));
            assert_eq!(shown(incoming, scope), None);
        }
    }

    #[test]
    fn world_and_api_server_stay_whole() {
        for end in [Endpoint::reserved(Reserved::World), api_server()] {
            let mut flow = syn();
            flow.destination_endpoint = Arc::new(end.clone());
            assert_eq!(*shown(flow, "shop").unwrap().destination_endpoint, end);
        }
    }

    #[test]
    fn service_without_a_pod_keeps_its_namespace_alone() {
        let mut flow = syn();
        flow.destination_endpoint = Arc::new(Endpoint::service("store", "cart", [("app", "cart")].into_iter()));
        let shown = shown(flow, "shop").unwrap();
        assert_eq!(*shown.destination_endpoint, Endpoint { namespace: "store".into(), ..Endpoint::default() });
    }

    #[test]
    fn flow_of_the_host_is_shown_to_the_whole_cluster_alone() {
        let mut flow = syn();
        flow.source_endpoint = Arc::new(Endpoint::reserved(Reserved::Host));
        flow.destination_endpoint = Arc::new(Endpoint::reserved(Reserved::World));
        assert_eq!(shown(flow, "shop"), None);
    }
}
