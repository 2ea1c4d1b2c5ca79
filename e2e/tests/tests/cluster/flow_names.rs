//! Names of flows on a real cluster: Services by port, and no address of the cluster as `world`, also right after a restart.

use serde_json::Value;
use trilobite_e2e::{
    Fixture, agents, clients, eventually,
    fixture::NAMESPACE,
    pods::{self, Workload},
    read_api::node_address,
};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: names}
spec:
  type: NodePort
  selector: {app: server}
  ports: [{port: 7000, targetPort: 7000, nodePort: 30700}]
";

/// The client's flows on its node, to this port.
fn flows_to(port: u16) -> Vec<Value> {
    let port = port.to_string();
    let words = ["observe", "-o", "json", "--last", "1000", "--from-pod", "names/client", "--to-port", &port];
    clients::json_lines(clients::hubble("node1", &words)).into_iter().map(|line| line["flow"].clone()).collect()
}

#[test]
fn flows_name_services_by_port_and_the_cluster_never_as_world() {
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack("{network: {mode: Enabled}}");
    for kind in ["services", "nodes", "servicecidrs.networking.k8s.io"] {
        let agent = format!("--as=system:serviceaccount:{NAMESPACE}:trilobite-node");
        kubectl.run(&["auth", "can-i", "watch", kind, &agent]);
    }
    pods::namespace(kubectl, "names");
    kubectl.apply(SERVICE);
    let serve = r#"[netecho, serve, "7000"]"#;
    let server = Workload { namespace: "names", name: "server", node: "node2", command: serve };
    server.start(kubectl);
    let cluster_ip = kubectl.run(&["-n", "names", "get", "service", "echo", "-o=jsonpath={.spec.clusterIP}"]);
    let node = node_address(kubectl, "node2");
    let talk = format!(
        r#"[sh, -c, "while true; do netecho send tcp {node} 30700 100; netecho send tcp {cluster_ip} 7000 100;
            timeout 1 netecho send tcp {cluster_ip} 7001 100; sleep 0.2; done"]"#
    );
    let client = Workload { namespace: "names", name: "client", node: "node1", command: &talk };
    client.start(kubectl);

    let check = || {
        for (port, service, label) in
            [(30700, "echo", "reserved:remote-node"), (7000, "echo", "k8s:app=server"), (7001, "", "reserved:unknown")]
        {
            let flows = flows_to(port);
            let is_named = |flow: &Value| {
                flow["destination_service"]["name"].as_str().unwrap_or_default() == service
                    && flow["destination"]["labels"].to_string().contains(label)
            };
            if flows.is_empty() || !flows.iter().all(is_named) {
                return Err(format!("{port}: {flows:#?}"));
            }
        }
        Ok(())
    };
    eventually("Services are named by address and port", 60, check);

    // From its first flow on, a new agent knows as much.
    let agent = agents::pod_on(kubectl, "node1");
    kubectl.run(&["-n", NAMESPACE, "delete", "pod", &agent, "--wait=true"]);
    agents::pod_on(kubectl, "node1");
    eventually("the next agent names them as well", 60, check);
    client.stop(kubectl);
    server.stop(kubectl);
    kubectl.delete(SERVICE);
}
