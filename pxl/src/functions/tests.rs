use trilobite_schema::{
    ColumnType::{self, Boolean, Float64, Int64, String, Time64Ns},
    SemanticType,
};

use super::*;

/// The functions of rows, groups and tables that Pixie's bundled scripts call.
const CALLED_BY_SCRIPTS: &str = "contains ip_to_pod_id sum select count pod_id_to_pod_name mean bin quantiles pluck_float64 floor max pluck min \
    upid_to_pid nslookup pod_id_to_service_name pod_name_to_start_time substring pod_name_to_status _exec_hostname length any regex_match find \
    ip_to_service_id pluck_array pod_id_to_node_name upid_to_cmdline upid_to_asid atoi service_id_to_service_name asid pluck_int64 \
    cql_opcode_name replace kafka_api_key_name pod_name_to_pod_ip normalize_pgsql normalize_mysql amqp_method_name amqp_frame_type_name \
    split negate upid_to_pod_name equal mux_frame_type_name _exec_host_num_cpus container_id_to_status has_service_name \
    redact_pii_best_effort get_cidrs protocol_name cidrs_contain_ip itoa _match_endpoint _build_request_path_clusters \
    _predict_request_path_cluster pod_name_to_namespace greaterThanEqual pod_id_to_namespace";

#[test]
fn functions_that_scripts_call_exist() {
    for name in CALLED_BY_SCRIPTS.split_whitespace() {
        assert!(find_function(name).is_some(), "{name}");
    }
}

#[test]
fn names_are_different_and_overloads_too() {
    let mut names: Vec<&str> = functions().map(|function| function.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    for function in functions() {
        for (index, overload) in function.overloads.iter().enumerate() {
            let earlier = &function.overloads[..index];
            assert!(earlier.iter().all(|other| other.arguments != overload.arguments), "{}", function.name);
        }
    }
}

#[test]
fn only_quantiles_by_name_are_extensions() {
    let extensions: Vec<&str> = functions().filter(|it| it.is_extension).map(|it| it.name).collect();
    assert_eq!(extensions, ["p50", "p90", "p95", "p99"]);
}

#[test]
fn results_have_the_types_that_pixie_gives_them() {
    let result =
        |name: &str, arguments: &[ColumnType]| find_function(name).unwrap().overload(arguments).map(|it| it.result);
    assert_eq!(result("divide", &[Int64, Int64]), Some(Float64));
    assert_eq!(result("sum", &[Boolean]), Some(Int64));
    assert_eq!(result("mean", &[Boolean]), Some(Float64));
    assert_eq!(result("min", &[String]), None);
    assert_eq!(result("max", &[Time64Ns]), Some(Time64Ns));
    assert_eq!(result("floor", &[Float64]), Some(Int64));
    assert_eq!(result("round", &[Float64, Int64]), Some(String));
    assert_eq!(result("subtract", &[Time64Ns, Time64Ns]), Some(Int64));
    assert_eq!(result("bin", &[Time64Ns, Int64]), Some(Time64Ns));
    assert_eq!(result("add", &[Int64, String]), None);
    assert_eq!(result("floor", &[Int64]), Some(Int64), "a whole number is widened");
    assert_eq!(result("multiply", &[Int64, Int64]), Some(Int64), "and not where it need not be");
}

#[test]
fn meanings_follow_the_rules() {
    use SemanticType::{Bytes, DurationNs, DurationNsQuantiles, None, PodName, Quantiles};
    let meaning = |name: &str, arguments: &[SemanticType]| find_function(name).unwrap().semantic.result(arguments);
    assert_eq!(meaning("divide", &[Bytes, DurationNs]), SemanticType::ThroughputBytesPerNs);
    assert_eq!(meaning("divide", &[None, DurationNs]), SemanticType::ThroughputPerNs);
    assert_eq!(meaning("divide", &[DurationNs, None]), None);
    assert_eq!(meaning("divide", &[DurationNs, DurationNs]), SemanticType::ThroughputPerNs);
    assert_eq!(meaning("add", &[Bytes, Bytes]), Bytes);
    assert_eq!(meaning("add", &[Bytes, None]), None);
    assert_eq!(meaning("add", &[PodName, PodName]), None);
    assert_eq!(meaning("select", &[None, PodName, PodName]), PodName);
    assert_eq!(meaning("quantiles", &[DurationNs]), DurationNsQuantiles);
    assert_eq!(meaning("quantiles", &[None]), Quantiles);
    assert_eq!(meaning("quantiles", &[Bytes]), Quantiles);
    assert_eq!(meaning("p99", &[DurationNs]), DurationNs);
    assert_eq!(meaning("count", &[DurationNs]), None);
    assert_eq!(meaning("any", &[PodName]), PodName);
}

#[test]
fn functions_of_local_processes_are_computed_on_their_node() {
    for function in functions() {
        let needs_node = function.name.starts_with("upid_to_")
            && !["upid_to_asid", "upid_to_pid", "upid_to_start_ts", "upid_to_string"].contains(&function.name);
        if needs_node {
            assert_eq!(function.computed_at, ComputedAt::Node, "{}", function.name);
        }
        if function.name.starts_with("pod_") {
            assert_eq!(function.computed_at, ComputedAt::Anywhere, "{}", function.name);
        }
    }
}

#[test]
fn tables_of_functions_have_distinct_columns() {
    for generator in GENERATORS {
        let mut names: Vec<&str> = generator.columns.iter().map(|column| column.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), generator.columns.len(), "{}", generator.name);
        assert!(find_generator(generator.name).is_some());
    }
}
