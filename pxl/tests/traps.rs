//! Where Pixie's language is not Python's, and its tables are not SQL's.

#![allow(clippy::unwrap_used, dead_code)]

mod support;

use support::{NOW, columns, errors, plan, plan_of};
use trilobite_pxl::{ComputedAt, Expression, JoinKind, Literal, Operation, TimeRange, find_function};

const HTTP: &str = "df = px.DataFrame('http_events')\n";

/// The type and meaning of an expression of the columns of `http_events`.
fn type_of(expression: &str) -> String {
    let plan = plan_of(&format!("{HTTP}df.x = {expression}\ndf = df[['x']]"));
    columns(&plan)[2..].to_owned()
}

#[test]
fn quotients_are_never_whole_numbers_and_zero_divides() {
    assert_eq!(type_of("df.resp_status / 2"), "FLOAT64");
    assert_eq!(type_of("df.resp_status / 0"), "FLOAT64");
    let constant = |text: &str| match plan_of(&format!("{HTTP}df.x = {text}")).nodes.pop().unwrap().operation {
        Operation::Map { value, .. } => value,
        other => panic!("{other:?}"),
    };
    assert_eq!(*constant("7 / 2"), Expression::Literal(Literal::Float64(3.5)));
    assert_eq!(*constant("1 / 0"), Expression::Literal(Literal::Float64(f64::INFINITY)));
    assert!(errors(&format!("import px\n{HTTP}df.x = 1 % 0\npx.display(df)"))[0].contains("'%' by zero"));
}

#[test]
fn types_of_functions_are_pixies() {
    assert_eq!(type_of("px.pluck(df.req_headers, 'a')"), "STRING");
    assert_eq!(type_of("px.pluck_int64(df.req_headers, 'a')"), "INT64");
    assert_eq!(type_of("px.pluck_float64(df.req_headers, 'a')"), "FLOAT64");
    assert_eq!(type_of("px.bin(df.time_, px.seconds(10))"), "TIME64NS");
    assert_eq!(type_of("px.floor(df.latency / 2)"), "INT64");
    assert_eq!(type_of("px.round(df.latency / 2, 2)"), "STRING");
    assert_eq!(type_of("px.regex_match('a.*', df.req_path)"), "BOOLEAN");
    assert_eq!(type_of("px.replace('a', df.req_path, '\\\\1')"), "STRING");
    assert_eq!(type_of("df.req_path + '/'"), "STRING");
    assert_eq!(type_of("df.time_ - df.time_"), "INT64");
    assert_eq!(type_of("df.time_ + px.minutes(1)"), "TIME64NS");
    assert_eq!(type_of("-df.latency"), "INT64");
    assert_eq!(type_of("not df.encrypted"), "BOOLEAN");
    assert_eq!(type_of("px.equals_any(df.resp_status, [500, 503])"), "BOOLEAN");
    assert_eq!(type_of("px.make_upid(1, 2, 3)"), "UINT128/ST_UPID");
    assert_eq!(type_of("px.uint128('11285cdd-1de9-4ab1-ae6a-0ba08c8c676c')"), "UINT128");
}

#[test]
fn meanings_follow_arithmetic_as_far_as_pixies_do() {
    assert_eq!(type_of("df.req_body_size + df.resp_body_size"), "INT64/ST_BYTES");
    assert_eq!(type_of("df.req_body_size + 1"), "INT64");
    assert_eq!(type_of("df.req_body_size / df.latency"), "FLOAT64/ST_THROUGHPUT_BYTES_PER_NS");
    assert_eq!(type_of("df.minor_version / df.latency"), "FLOAT64/ST_THROUGHPUT_PER_NS");
    assert_eq!(type_of("df.latency / 1000"), "FLOAT64");
    assert_eq!(type_of("px.DurationNanos(px.floor(df.latency / 2))"), "INT64/ST_DURATION_NS");
    assert_eq!(type_of("px.Percent(df.latency / 2)"), "FLOAT64/ST_PERCENT");
    assert_eq!(type_of("px.select(df.encrypted, df.ctx['pod'], df.remote_addr)"), "STRING");
    assert_eq!(type_of("df.ctx['service']"), "STRING/ST_SERVICE_NAME");
    assert_eq!(type_of("df.ctx['pid']"), "INT64");
    assert_eq!(type_of("px.script_reference('a', 'px/pod', {'pod': df.ctx['pod']})"), "STRING/ST_SCRIPT_REFERENCE");
}

#[test]
fn aggregates_have_pixies_types_and_meanings() {
    let plan = plan_of(&format!(
        "{HTTP}df.failed = df.resp_status >= 400\ndf = df.agg(a=('failed', px.sum), b=('failed', px.mean), c=('latency', px.mean), \
         d=('latency', px.sum), e=('time_', px.max), f=('upid', px.any), g=('latency', px.quantiles), \
         h=('resp_status', px.quantiles), i=('req_path', px.count), j=('req_body_size', px.sum), k=('latency', px.p95))"
    ));
    let expected = "a INT64, b FLOAT64, c FLOAT64/ST_DURATION_NS, d INT64, e TIME64NS, f UINT128/ST_UPID, \
                    g STRING/ST_DURATION_NS_QUANTILES, h STRING/ST_QUANTILES, i INT64, j INT64/ST_BYTES, k FLOAT64/ST_DURATION_NS";
    assert_eq!(columns(&plan), expected);
    for (function, column) in [("min", "req_path"), ("sum", "req_path"), ("max", "encrypted")] {
        let script = format!("import px\n{HTTP}df = df.agg(a=('{column}', px.{function}))\npx.display(df)");
        assert!(errors(&script)[0].contains("is not defined for"), "{function}");
    }
}

#[test]
fn assigned_columns_stand_last_also_where_they_existed() {
    let plan = plan_of("df = px.DataFrame('mux_events', select=['time_', 'req_type', 'latency'])\ndf.time_ = df.time_");
    assert_eq!(columns(&plan), "req_type INT64, latency INT64/ST_DURATION_NS, time_ TIME64NS");
}

#[test]
fn joins_keep_both_keys_and_name_them_by_suffixes() {
    let two = "a = px.DataFrame('mux_events', select=['upid', 'latency'])\nb = px.DataFrame('nats_events.beta', select=['upid', 'cmd'])\n";
    let joined = |rest: &str| plan_of(&format!("{two}df = a.merge(b, {rest})"));
    let plan = joined("how='left', left_on=['upid'], right_on='upid', suffixes=['', '_b']");
    assert_eq!(
        columns(&plan),
        "upid UINT128/ST_UPID, latency INT64/ST_DURATION_NS, upid_b UINT128/ST_UPID, cmd STRING"
    );
    let plan = joined("left_on='upid', right_on='upid'");
    assert!(columns(&plan).starts_with("upid_x UINT128/ST_UPID, latency"));
    let is_inner = |operation: &Operation| matches!(operation, Operation::Join { how: JoinKind::Inner, .. });
    assert!(plan.nodes.iter().any(|node| is_inner(&node.operation)));
    let clash = errors(&format!(
        "import px\n{two}px.display(a.merge(b, how='inner', left_on='upid', right_on='upid', suffixes=['', '']))"
    ));
    assert!(clash[0].contains("other suffixes"), "{clash:?}");
    let types = errors(&format!("import px\n{two}px.display(a.merge(b, how='inner', left_on='upid', right_on='cmd'))"));
    assert!(types[0].contains("one type"), "{types:?}");
}

#[test]
fn rows_are_appended_by_time_where_all_have_one() {
    let by_time = |select: &str| {
        let plan =
            plan_of(&format!("a = px.DataFrame('mux_events', select={select})\ndf = a.append([a[a.latency > 1], a])"));
        matches!(plan.nodes.last().unwrap().operation, Operation::Union { by_time: true })
    };
    assert!(by_time("['time_', 'latency']"));
    assert!(!by_time("['latency']"));
    let differ = "a = px.DataFrame('mux_events')\nb = px.DataFrame('nats_events.beta')\npx.display(a.append(b))";
    assert!(errors(&format!("import px\n{differ}"))[0].contains("lacks the column 'req_type'"));
}

#[test]
fn times_are_relative_absolute_or_computed() {
    let range =
        |arguments: &str| match plan_of(&format!("df = px.DataFrame('mux_events', {arguments})")).nodes[0].operation {
            Operation::Scan { range, .. } => range,
            ref other => panic!("{other:?}"),
        };
    let minute = 60_000_000_000;
    assert_eq!(range("start_time='-5m'"), TimeRange { start: Some(NOW - 5 * minute), end: None });
    assert_eq!(range("end_time='2026-11-30T11:59:00Z'"), TimeRange { start: None, end: Some(NOW - minute) });
    assert_eq!(range("start_time=px.now() - px.minutes(2)"), TimeRange { start: Some(NOW - 2 * minute), end: None });
    assert_eq!(range("start_time=1796039940000000000"), TimeRange { start: Some(NOW - minute), end: None });
    assert_eq!(range("start_time=None"), TimeRange::default());
    assert_eq!(range("start_time=px.parse_time('-1h') + px.parse_duration('59m')").start, Some(NOW - minute));
    assert_eq!(range("start_time=px.strptime('2026-11-30 11:00', '%Y-%m-%d %H:%M')").start, Some(NOW - 60 * minute));
    let backwards = errors("import px\npx.display(px.DataFrame('mux_events', start_time='-1m', end_time='-2m'))");
    assert!(backwards[0].contains("after end_time"));
}

#[test]
fn context_is_found_by_the_column_that_leads_to_it() {
    let of = |lines: &str| plan_of(lines).to_string();
    assert!(of("df = px.DataFrame('http_events')\ndf.x = df.ctx['node']").contains("x = upid_to_node_name(upid)"));
    assert!(of("df = px.DataFrame('network_stats')\ndf.x = df.ctx['pod']").contains("x = pod_id_to_pod_name(pod_id)"));
    let grouped = "df = px.DataFrame('http_events')\ndf.pod = df.ctx['pod']\ndf = df.groupby('pod').agg()\ndf.x = df.ctx['namespace']";
    assert!(of(grouped).contains("x = pod_name_to_namespace(pod)"));
    for alias in
        ["service", "service_name", "replica_set", "replicaset", "deployment", "host", "cmd", "container", "asid"]
    {
        plan_of(&format!("df = px.DataFrame('http_events')\ndf.x = df.ctx['{alias}']"));
    }
    let none =
        errors("import px\ndf = px.DataFrame('http_events', select=['latency'])\npx.display(df[df.ctx['pod'] == 'a'])");
    assert!(none[0].contains("needs one of the columns upid, pod_id"), "{none:?}");
}

#[test]
fn functions_of_local_processes_are_marked() {
    assert_eq!(find_function("upid_to_pod_name").unwrap().computed_at, ComputedAt::Node);
    assert_eq!(find_function("pod_id_to_pod_name").unwrap().computed_at, ComputedAt::Anywhere);
}

#[test]
fn our_columns_and_aliases_are_found_and_never_listed() {
    let plan = plan_of("df = px.DataFrame('pgsql_events')\ndf = df[df.is_error and df.rows > 3 and df.latency_ns > 5]");
    assert_eq!(plan.output_columns(&plan.outputs[0]).len(), 12);
    let named = plan_of("df = px.DataFrame('pgsql_events')[['req_body', 'latency_ns', 'error_code']]");
    assert_eq!(columns(&named), "req_body STRING, latency_ns INT64/ST_DURATION_NS, error_code STRING");
    let reassigned = "import px\ndf = px.DataFrame('pgsql_events')\ndf.latency = df.latency / 1000\npx.display(df[df.latency_ns > 1])";
    assert!(errors(reassigned)[0].contains("no column 'latency_ns'"), "another name of what is no longer there");
}

#[test]
fn answers_are_limited_by_settings_and_named_once() {
    let script = "#px:set max_output_rows_per_table=20 explain=true\nimport px\ndf = px.DataFrame('mux_events')\npx.display(df)\npx.display(df)\npx.debug(df, 'x')\n";
    let plan = plan(script).unwrap();
    assert_eq!((plan.settings.max_output_rows_per_table, plan.settings.explain), (20, true));
    let names: Vec<&str> = plan.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["output", "output_1", "_x"]);
    assert_eq!(plan.nodes.len(), 1, "what is displayed twice is read once");
    assert!(
        errors("#px:set max_rows=1\nimport px\npx.display(px.DataFrame('mux_events'))")[0]
            .starts_with("line 1, column 1")
    );
}

#[test]
fn steps_that_lead_to_no_output_are_left_out() {
    let plan = plan_of("unused = px.DataFrame('dns_events').head(3)\ndf = px.DataFrame('mux_events')");
    assert_eq!(plan.nodes.len(), 1);
}

#[test]
fn sorting_takes_several_columns_and_directions() {
    let plan =
        plan_of("df = px.DataFrame('mux_events')\ndf = df.sort(['req_type', 'latency_ns'], ascending=[True, False])");
    assert!(plan.to_string().contains("sort req_type asc, latency_ns desc"), "{plan}");
}

#[test]
fn functions_have_defaults_and_see_names_of_the_script() {
    let plan = plan_of(
        "limit = 3\ndef rows(table, n=limit):\n    df = px.DataFrame(table)\n    return df.head(n)\ndf = rows(table='mux_events')\n\
         df = df.append(rows('mux_events', 4))",
    );
    assert!(plan.to_string().contains("limit 3") && plan.to_string().contains("limit 4"));
}

#[test]
fn modules_have_their_names_and_px_a_second_one() {
    let plan = plan("import px, pxviews\nimport pl\npl.display(pxviews.processes('-5m', px.now()).head(1))").unwrap();
    assert_eq!(plan.outputs.len(), 1);
}

#[test]
fn text_before_rows_are_read_is_computed() {
    let plan = plan_of("df = px.DataFrame('mux' + '_events')\ndf.x = 'a' + 'b' == 'ab' and not False or 1 > 2.5");
    assert!(plan.to_string().contains("map x = true"), "{plan}");
    assert!(
        plan_of("df = px.DataFrame('mux_events')\ndf.x = px.format_duration(-90 * 1000 * 1000 * 1000)")
            .to_string()
            .contains("\"-1m30s\"")
    );
}
