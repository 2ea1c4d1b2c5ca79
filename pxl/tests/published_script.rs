//! A script as it is published, which needs what Pixie does not have: `sort`, quantiles by name, other names of columns.

#![allow(clippy::unwrap_used, dead_code)]

mod support;

use support::plan;

const SCRIPT: &str = "import px

df = px.DataFrame(table='pgsql_events', start_time='-10m')

df = df[df.latency_ns > 100 * 1000 * 1000]

df.latency_ms = df.latency_ns / 1000 / 1000
df.pod = df.ctx['pod']

df = df.groupby(['pod', 'req_body']).agg(
    count=('req_body', px.count),
    p50_ms=('latency_ms', px.p50),
    p99_ms=('latency_ms', px.p99),
)
df = df.sort('p99_ms', ascending=False)

px.display(df, 'slow_postgres_queries')
";

const PLAN: &str = r#"#0: scan pgsql_events from 1796039400000000000
#1 <- #0: filter greaterThan(latency, 100000000)
#2 <- #1: map latency_ms = divide(divide(latency, 1000), 1000)
#3 <- #2: map pod = upid_to_pod_name(upid)
#4 <- #3: map req_body = req
#5 <- #4: aggregate by [pod, req_body] count = count(req_body), p50_ms = p50(latency_ms), p99_ms = p99(latency_ms)
#6 <- #5: sort p99_ms desc
output "slow_postgres_queries" <- #6: pod STRING/ST_POD_NAME, req_body STRING, count INT64, p50_ms FLOAT64, p99_ms FLOAT64
"#;

#[test]
fn published_script_is_a_plan() {
    assert_eq!(plan(SCRIPT).unwrap().to_string(), PLAN);
}

#[test]
fn names_that_pixie_has_give_the_same_plan() {
    let renamed = SCRIPT.replace("latency_ns", "latency");
    assert_eq!(plan(&renamed).unwrap(), plan(SCRIPT).unwrap());
}

#[test]
fn example_of_the_docs_page_is_what_is_printed() {
    let page = include_str!("../../docs/pxl.md");
    let blocks: Vec<&str> = page.split("```").collect();
    let [_, script, _, printed, ..] = blocks[..] else { panic!("two blocks") };
    assert_eq!(plan(script).unwrap().to_string(), printed.trim_start());
}

#[test]
fn docs_page_names_each_table_each_extension_and_each_generator() {
    let page = include_str!("../../docs/pxl.md");
    let extensions =
        trilobite_pxl::functions().filter(|function| function.is_extension).map(|it| format!("`px.{}`", it.name));
    let tables = trilobite_schema::ALL.into_iter().map(|table| format!("`{}`", table.name));
    let generators = trilobite_pxl::GENERATORS.iter().map(|generator| format!("`{}`", generator.name));
    let unlisted =
        trilobite_schema::ALL.into_iter().flat_map(|table| table.unlisted()).map(|column| format!("`{}`", column.name));
    for name in extensions.chain(tables).chain(generators).chain(unlisted) {
        assert!(page.contains(&name), "{name}");
    }
}
