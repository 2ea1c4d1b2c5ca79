//! pxviews: the columns that its functions give.

#![allow(clippy::unwrap_used, dead_code)]

mod support;

use support::{columns, plan};

const OWNER: &str = "pod_id STRING, pod STRING/ST_POD_NAME, service STRING/ST_SERVICE_NAME, namespace STRING/ST_NAMESPACE_NAME, node STRING/ST_NODE_NAME";
const RATES: &str = "rx_bytes_per_ns FLOAT64, tx_bytes_per_ns FLOAT64, rx_drops_per_ns FLOAT64, tx_drops_per_ns FLOAT64, rx_errors_per_ns FLOAT64, tx_errors_per_ns FLOAT64";
const USE: &str = "cpu_usage FLOAT64/ST_PERCENT, actual_disk_read_throughput FLOAT64, actual_disk_write_throughput FLOAT64, total_disk_read_throughput FLOAT64, \
                   total_disk_write_throughput FLOAT64, rss FLOAT64/ST_BYTES, vsize FLOAT64/ST_BYTES";

fn of_view(call: &str) -> String {
    let script = format!("import px\nimport pxviews\npx.display(pxviews.{call})\n");
    columns(&plan(&script).unwrap_or_else(|errors| panic!("{call}: {errors:?}")))
}

#[test]
fn views_have_pixies_columns() {
    let owner = OWNER;
    let container = format!(
        "time_ TIME64NS, {}, {USE}",
        owner.replacen("pod_id STRING", "pod_id STRING, container STRING/ST_CONTAINER_NAME", 1)
    );
    let network = format!("time_ TIME64NS, {owner}, {RATES}");
    let window = "'-5m', px.now(), px.seconds(10)";
    let views = [
        (
            "inbound_http_summary('-5m', px.now())".to_owned(),
            format!(
                "time_ TIME64NS, {owner}, requestor_ip STRING/ST_IP_ADDRESS, requestor_pod STRING/ST_POD_NAME, requestor_service STRING/ST_SERVICE_NAME, \
                 latency_quantiles STRING/ST_DURATION_NS_QUANTILES, latency_sum INT64, num_requests INT64, num_errors INT64, req_bytes INT64/ST_BYTES, \
                 resp_bytes INT64/ST_BYTES"
            ),
        ),
        (
            "http_graph('-5m', px.now())".to_owned(),
            "time_ TIME64NS, responder_pod STRING/ST_POD_NAME, requestor_pod STRING/ST_POD_NAME, responder_namespace STRING/ST_NAMESPACE_NAME, \
             requestor_namespace STRING/ST_NAMESPACE_NAME, responder_node STRING/ST_NODE_NAME, requestor_node STRING/ST_NODE_NAME, \
             responder_ip STRING/ST_IP_ADDRESS, requestor_ip STRING/ST_IP_ADDRESS, responder_service STRING/ST_SERVICE_NAME, \
             requestor_service STRING/ST_SERVICE_NAME, latency_p50 FLOAT64/ST_DURATION_NS, latency_p90 FLOAT64/ST_DURATION_NS, \
             latency_p99 FLOAT64/ST_DURATION_NS, latency_quantiles STRING/ST_DURATION_NS_QUANTILES, latency_sum INT64, num_requests INT64, \
             num_errors INT64, req_bytes INT64/ST_BYTES, resp_bytes INT64/ST_BYTES"
                .to_owned(),
        ),
        (format!("container_process_timeseries({window})"), container.clone()),
        ("container_process_summary('-5m', px.now())".to_owned(), container),
        (
            "pod_resource_stats('-5m', px.now())".to_owned(),
            "time_ TIME64NS, pod_id STRING, pod STRING/ST_POD_NAME, service STRING/ST_SERVICE_NAME, node STRING/ST_NODE_NAME, \
             namespace STRING/ST_NAMESPACE_NAME, container_count INT64, pod_start_time TIME64NS, pod_status STRING/ST_POD_STATUS, \
             cpu_usage FLOAT64/ST_PERCENT, rss FLOAT64/ST_BYTES, vsize FLOAT64/ST_BYTES, actual_disk_read_throughput FLOAT64, \
             actual_disk_write_throughput FLOAT64, total_disk_read_throughput FLOAT64, total_disk_write_throughput FLOAT64"
                .to_owned(),
        ),
        (format!("pod_network_timeseries({window})"), network.clone()),
        ("pod_network_summary('-5m', px.now())".to_owned(), network),
        (
            format!("inbound_http_throughput_timeseries({window})"),
            format!("time_ TIME64NS, {owner}, container STRING/ST_CONTAINER_NAME, num_requests INT64, num_errors INT64"),
        ),
        (
            format!("inbound_http_latency_timeseries({window})"),
            format!(
                "time_ TIME64NS, {owner}, latency_quantiles STRING/ST_DURATION_NS_QUANTILES, num_requests INT64, num_errors INT64, latency_sum INT64, \
                 req_bytes INT64/ST_BYTES, resp_bytes INT64/ST_BYTES"
            ),
        ),
        (
            "stacktraces('-5m', px.now())".to_owned(),
            "namespace STRING/ST_NAMESPACE_NAME, node STRING/ST_NODE_NAME, service STRING/ST_SERVICE_NAME, pod STRING/ST_POD_NAME, \
             container STRING/ST_CONTAINER_NAME, cmdline STRING, stack_trace STRING, time_ TIME64NS, stack_trace_id INT64, count INT64, \
             node_num_cpus INT64"
                .to_owned(),
        ),
        (
            "connection_throughput_stats('-5m', px.now())".to_owned(),
            "time_ TIME64NS, remote_addr STRING/ST_IP_ADDRESS, node STRING/ST_NODE_NAME, pod_id STRING, pod STRING/ST_POD_NAME, \
             namespace STRING/ST_NAMESPACE_NAME, service STRING/ST_SERVICE_NAME, inbound_conn_throughput INT64/ST_BYTES, \
             outbound_conn_throughput INT64/ST_BYTES"
                .to_owned(),
        ),
        (
            "processes('-5m', px.now())".to_owned(),
            "time_ TIME64NS, service STRING/ST_SERVICE_NAME, namespace STRING/ST_NAMESPACE_NAME, node STRING/ST_NODE_NAME, upid UINT128/ST_UPID, \
             pod_id STRING, pod STRING/ST_POD_NAME, container_name STRING/ST_CONTAINER_NAME, container_id STRING, cmdline STRING, pid INT64, \
             container_status STRING/ST_CONTAINER_STATUS"
                .to_owned(),
        ),
    ];
    assert_eq!(views.len(), 12);
    for (call, expected) in views {
        assert_eq!(of_view(&call), expected, "{call}");
    }
}

#[test]
fn rates_by_a_window_that_is_a_duration_are_throughputs() {
    let columns = of_view("pod_network_timeseries('-5m', px.now(), px.DurationNanos(px.seconds(10)))");
    assert!(columns.contains("rx_bytes_per_ns FLOAT64/ST_THROUGHPUT_BYTES_PER_NS"), "{columns}");
    assert!(columns.contains("rx_drops_per_ns FLOAT64/ST_THROUGHPUT_PER_NS"), "{columns}");
}
