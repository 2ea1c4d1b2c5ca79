//! A script for each of Pixie's bundled ones, with its tables, functions, contexts and traps: what it makes, by name, type and
//! meaning; and those that need pxtrace, by their line.

#![allow(clippy::unwrap_used, dead_code)]

mod support;

use std::collections::BTreeSet;

use support::{FILES, plan_of_section, sections};

const NAMES: &str = "px/agent_status px/agent_status_diagnostics px/amqp_data px/cluster px/collect_agent_heaps px/cql_data px/cql_flow_graph \
    px/cql_stats px/differential_flamegraph px/dns_data px/dns_flow_graph px/dns_query_summary px/funcs px/http_data px/http_data_filtered \
    px/http_post_requests px/http_request_stats px/http_trace_id px/inbound_conns px/ip px/jvm_data px/jvm_stats px/kafka_consumer_rebalancing \
    px/kafka_data px/kafka_overview px/kafka_producer_consumer_latency px/largest_http_request px/mongodb_data px/most_http_data px/mux_data \
    px/mysql_data px/mysql_flow_graph px/mysql_stats px/namespace px/namespaces px/nats_data px/net_flow_graph px/network_stats px/node \
    px/nodes px/outbound_conns px/perf_flamegraph px/pgsql_data px/pgsql_flow_graph px/pgsql_stats px/pid_memory_usage \
    px/pixie_quality_metrics px/pod px/pod_edge_stats px/pod_lifetime_resource px/pod_memory_usage px/pods px/redis_data px/redis_flow_graph \
    px/redis_stats px/schemas px/service px/service_edge_stats px/service_resource_usage px/service_stats px/services px/slow_http_requests \
    px/sql_queries px/sql_query px/stirling_errors px/tracepoint_status px/upids pxbeta/pii_cluster_egress pxbeta/service_endpoint \
    pxbeta/service_endpoints sotw/dns_external_fqdn_list sotw/dns_queries_filtered";

#[test]
fn constructs_of_bundled_scripts_give_the_columns_that_they_name() {
    for section in FILES.into_iter().flat_map(sections) {
        let plan =
            plan_of_section(&section, &section.script).unwrap_or_else(|errors| panic!("{}: {errors:#?}", section.name));
        let made: Vec<(String, String)> = plan
            .outputs
            .iter()
            .map(|output| {
                let columns = plan.output_columns(output).into_iter().map(ToString::to_string);
                (output.name.clone(), columns.collect::<Vec<_>>().join(", "))
            })
            .collect();
        let sorted = |mut outputs: Vec<(String, String)>| {
            outputs.sort();
            outputs
        };
        assert_eq!(sorted(made), sorted(section.outputs.clone()), "{}", section.name);
    }
}

#[test]
fn each_bundled_script_that_needs_no_pxtrace_is_covered() {
    let covered: BTreeSet<String> = FILES.into_iter().flat_map(sections).map(|section| section.name).collect();
    let named: BTreeSet<String> = NAMES.split_whitespace().map(str::to_owned).collect();
    assert_eq!(named.len(), 72);
    assert_eq!(covered, named);
}

#[test]
fn pxtrace_is_refused_at_its_line_and_by_nothing_else() {
    let scripts = sections(include_str!("scripts/pxtrace.pxl"));
    assert_eq!(scripts.len(), 11);
    for section in scripts {
        let errors = plan_of_section(&section, &section.script).unwrap_err();
        assert_eq!((errors.len(), errors[0].position.line, errors[0].position.column), (1, 2, 8), "{}", section.name);
        assert!(errors[0].message.contains("pxtrace") && errors[0].message.contains("TracingPolicy"), "{errors:?}");
    }
}
