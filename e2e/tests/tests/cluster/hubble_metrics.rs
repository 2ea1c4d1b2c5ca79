//! Hubble's metrics on a real cluster: nothing without the stack's request, the series of two pods on two nodes, a pod that is
//! deleted, and metrics that are refused beside those that are counted.

use serde_json::Value;
use trilobite_e2e::{
    Fixture, Kubectl, eventually,
    fixture::{condition, stack_yaml},
    kernel::{self, FLOWS},
    pods::{self, TestNamespace, Workload},
    read_api::page_of_node,
    wait::that,
};

const PORT: u16 = 9965;
const NODES: [&str; 2] = ["node1", "node2"];

/// A stack that counts these metrics and nothing else.
fn counting(metrics: &str) -> String {
    format!("{{network: {{mode: OnDemand, metrics: {{mode: Enabled, metrics: [{metrics}]}}}}}}")
}

/// Lines of a node's page with all of `texts`.
fn series(kubectl: &Kubectl, node: &str, texts: &[&str]) -> Result<Vec<String>, String> {
    let page = page_of_node(kubectl, node, PORT)?;
    Ok(page.lines().filter(|line| texts.iter().all(|text| line.contains(text))).map(str::to_owned).collect())
}

fn nothing_is_counted(kubectl: &Kubectl) {
    eventually("no port is open and no program of flows is loaded", 60, || {
        let open: Vec<&str> = NODES.into_iter().filter(|node| page_of_node(kubectl, node, PORT).is_ok()).collect();
        that(open.is_empty(), format!("{open:?} serve"))?;
        let objects = kernel::objects();
        that(objects.count(FLOWS) == 0, format!("{objects:?}"))
    });
    let service = kubectl.ask(&["-n", trilobite_e2e::fixture::NAMESPACE, "get", "service", "trilobite-node"]);
    assert!(service.is_err(), "{service:?}");
}

#[test]
fn flows_are_counted_on_both_nodes_while_the_stack_asks() {
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack("{network: {mode: OnDemand}}");
    nothing_is_counted(kubectl);

    let labels = "labelsContext=source_namespace,source_pod,destination_namespace,destination_pod";
    fixture.stack(&counting(&format!("flow, 'tcp:{labels}', 'port-distribution'")));
    let _namespace = TestNamespace::create(kubectl, "counted");
    let server =
        Workload { namespace: "counted", name: "server", node: "node2", command: r#"[netecho, serve, "7000"]"# };
    server.start(kubectl);
    let address = pods::address(kubectl, "counted", "server", 0);
    let talk = format!(r#"[sh, -c, "while true; do netecho send tcp {address} 7000 100; sleep 0.2; done"]"#);
    let client = Workload { namespace: "counted", name: "client", node: "node1", command: &talk };
    client.start(kubectl);
    let of_pods = ["hubble_tcp_flags_total{flag=\"SYN\"", "source_pod=\"client\"", "destination_pod=\"server\""];
    for node in NODES {
        eventually("both nodes count the connections of the two pods", 60, || {
            let syn = series(kubectl, node, &of_pods)?;
            let ports = series(kubectl, node, &["hubble_port_distribution_total", "protocol=\"TCP\",port=\"7000\""])?;
            let flows = series(kubectl, node, &["type=\"Trace\"", &format!("node_name=\"{node}\"")])?;
            let bytes = series(kubectl, node, &["trilobite_network_bytes_total", "counted/"])?;
            let all = [&syn, &ports, &flows, &bytes];
            that(all.iter().all(|lines| !lines.is_empty()), format!("{node}: {all:#?}"))
        });
    }
    let ports = kubectl.run(&[
        "-n",
        trilobite_e2e::fixture::NAMESPACE,
        "get",
        "service",
        "trilobite-node",
        "-o=jsonpath={.spec.ports[*].name}",
    ]);
    assert_eq!(ports, "hubble-metrics");

    client.stop(kubectl);
    for node in NODES {
        eventually("the series of the deleted pod leave a minute later", 120, || {
            let lines = series(kubectl, node, &["client"])?;
            that(lines.is_empty(), format!("{node}: {lines:#?}"))
        });
    }
    server.stop(kubectl);
    fixture.stack("{network: {mode: OnDemand}}");
    nothing_is_counted(kubectl);
}

#[test]
fn refused_metrics_are_named_and_the_others_are_counted() {
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    kubectl.apply(&stack_yaml(&counting("'tcp:sourceContext=zone', 'policy:labelsContext=source_zone', flow")));
    let stack: Value = eventually("the stack names the metrics that are refused", 60, || {
        let stack = kubectl.get(&["observabilitystack", "default"])?;
        let accepted = condition(&stack, "Accepted").is_some_and(|accepted| accepted["status"] == "False");
        that(accepted, format!("{:#}", stack["status"]))?;
        Ok(stack)
    });
    let message = condition(&stack, "Accepted").unwrap()["message"].as_str().unwrap().to_owned();
    for refused in ["metrics.metrics[0]: unknown context \"zone\"", "metrics.metrics[1]: unknown label \"source_zone\""]
    {
        assert!(message.contains(refused), "{message}");
    }
    eventually("the metric beside them is counted", 60, || {
        let lines = series(kubectl, "node1", &["# TYPE hubble_flows_processed"])?;
        let refused = series(kubectl, "node1", &["# TYPE hubble_tcp"])?;
        that(lines.len() == 1 && refused.is_empty(), format!("{lines:?} {refused:?}"))
    });
    fixture.stack("{network: {mode: OnDemand}}");
}
