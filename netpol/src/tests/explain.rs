use serde_json::json;

use super::fixture::{cluster_policy, connection, external, ingress_from_pods, network_policy, node, pod, read};
use crate::Protocol;

fn explain(objects: &[serde_json::Value], client: &super::fixture::TestPeer) -> String {
    let server = pod("shop/web-0", "10.0.1.2", &[("app", "web")]);
    let connection = connection(client, &server, Protocol::Tcp, 8080);
    read(objects).0.evaluate(&connection).explain(&connection)
}

#[test]
fn decisions_are_one_line_for_people() {
    let cart = pod("payments/cart-1", "10.0.2.1", &[]);
    let isolate = |name: &str| network_policy(&format!("shop/{name}"), json!({}));
    assert_eq!(explain(&[], &cart), "allowed: no policy decides");
    assert_eq!(
        explain(&[isolate("default-deny")], &cart),
        "denied: NetworkPolicy shop/default-deny isolates shop/web-0, and no policy allows TCP 8080 from payments/cart-1"
    );
    assert_eq!(
        explain(&["a", "b", "c", "d", "e"].map(isolate), &external("203.0.113.7")),
        "denied: NetworkPolicy shop/a, NetworkPolicy shop/b, NetworkPolicy shop/c and 2 more isolate shop/web-0, \
         and no policy allows TCP 8080 from 203.0.113.7"
    );
    assert_eq!(
        explain(&[isolate("default-deny")], &node("n2", "192.0.2.2", &[])),
        "denied: NetworkPolicy shop/default-deny isolates shop/web-0, and no policy allows TCP 8080 from node n2"
    );
    assert_eq!(
        explain(&[cluster_policy("no-pods", "Admin", 1, ingress_from_pods("Deny"))], &cart),
        "denied: ClusterNetworkPolicy no-pods denies TCP 8080 from payments/cart-1"
    );
    let egress = network_policy("payments/open", json!({"policyTypes": ["Egress"], "egress": [{}]}));
    let ingress = network_policy("shop/open", json!({"ingress": [{}]}));
    assert_eq!(
        explain(&[egress, ingress], &cart),
        "allowed: NetworkPolicy payments/open allows TCP 8080 to shop/web-0; \
         NetworkPolicy shop/open allows TCP 8080 from payments/cart-1"
    );
}

#[test]
fn undecided_names_are_said_with_a_denial() {
    let accept = json!({"action": "Accept", "to": [{"domainNames": ["web.example.com"]}]});
    let deny = json!({"action": "Deny", "to": [{"networks": ["10.0.0.0/8"]}]});
    let policy = cluster_policy("egress", "Admin", 1, json!({"egress": [accept, deny]}));
    assert_eq!(
        explain(&[policy], &pod("payments/cart-1", "10.0.2.1", &[])),
        "denied: ClusterNetworkPolicy egress denies TCP 8080 to shop/web-0 \
         (unless a domain name of ClusterNetworkPolicy egress stands for the address)"
    );
}
