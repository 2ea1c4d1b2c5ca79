//! Dropped packets on a real cluster: each on the node that dropped it and on no other, with both pods, or the Service without a pod.

use serde_json::Value;
use trilobite_e2e::{
    Fixture, clients, eventually,
    pods::{self, Workload},
};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: drops}
spec:
  selector: {app: nothing}
  ports: [{port: 7000}]
";

/// Dropped packets of the client that a node has seen.
fn drops_on(node: &str) -> Vec<Value> {
    let words = ["observe", "-o", "json", "--last", "1000", "--verdict", "DROPPED", "--from-pod", "drops/client"];
    clients::json_lines(clients::hubble(node, &words)).into_iter().map(|line| line["flow"].clone()).collect()
}

#[test]
fn drop_is_on_its_node_with_both_pods_and_its_reason() {
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack("{network: {mode: Enabled}}");
    pods::namespace(kubectl, "drops");
    kubectl.apply(SERVICE);
    let serve = r#"[netecho, serve, "7000"]"#;
    let server = Workload { namespace: "drops", name: "server", node: "node2", command: serve };
    server.start(kubectl);
    let of = |kind: &str, name: &str, path: &str| {
        kubectl.run(&["-n", "drops", "get", kind, name, &format!("-o=jsonpath={{{path}}}")])
    };
    let address = of("pod", "server", ".status.podIP");
    let cluster_ip = of("service", "empty", ".spec.clusterIP");
    let talk = format!(
        r#"[sh, -c, "while true; do netecho send tcp {address} 7000 100; timeout 1 netecho send tcp {address} 7009 100;
            timeout 1 netecho send tcp {cluster_ip} 7000 100; sleep 0.5; done"]"#
    );
    let client = Workload { namespace: "drops", name: "client", node: "node1", command: &talk };
    client.start(kubectl);

    eventually(
        "the server's node says that nothing listens, and the client's that no pod is behind the Service",
        60,
        || {
            let (here, there) = (drops_on("node1"), drops_on("node2"));
            let reasons = |flows: &[Value], wanted: &str| {
                let are = |flow: &Value| flow["drop_reason_desc"] == wanted;
                !flows.is_empty() && flows.iter().all(are)
            };
            let to_server = |flow: &Value| {
                flow["destination"]["pod_name"] == "server" && flow["l4"]["TCP"]["destination_port"] == 7009
            };
            let to_service = |flow: &Value| flow["destination_service"]["name"] == "empty";
            // Both nodes share a kernel: each has its own drops alone.
            let is_right = reasons(&there, "SOCKET_LOOKUP_FAILED")
                && there.iter().all(to_server)
                && reasons(&here, "SERVICE_BACKEND_NOT_FOUND")
                && here.iter().all(to_service);
            if is_right { Ok(()) } else { Err(format!("node1: {here:#?}\nnode2: {there:#?}")) }
        },
    );
    client.stop(kubectl);
    server.stop(kubectl);
    kubectl.delete(SERVICE);
}
