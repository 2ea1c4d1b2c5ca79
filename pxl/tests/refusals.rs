//! What is refused: line and column, what is wrong, and what was probably meant.

#![allow(clippy::unwrap_used, dead_code)]

mod support;

use support::{NOW, errors};
use trilobite_pxl::{FunctionCall, Request, compile};

/// The only error of a script whose first line is `import px`.
fn error(lines: &str) -> String {
    let mut errors = errors(&format!("import px\n{lines}\n"));
    errors.retain(|error| !error.ends_with("the script displays nothing: add px.display(df, 'name')"));
    assert_eq!(errors.len(), 1, "{lines}: {errors:?}");
    errors.remove(0)
}

#[test]
fn names_that_do_not_exist_are_refused_with_the_nearest() {
    let frame = "df = px.DataFrame('http_events')\n";
    for (lines, expected) in [
        (
            "px.display(px.DataFrame('htp_events'))",
            "line 2, column 25: there is no table 'htp_events'; did you mean 'http_events'?",
        ),
        ("px.displya(1)", "line 2, column 4: px has no function 'displya'; did you mean 'display'?"),
        ("px.display(dff)", "line 2, column 12: 'dff' is not defined"),
    ] {
        assert_eq!(error(lines), expected);
    }
    for (line, expected) in [
        (
            "px.display(df[df.resp_statsu > 1])",
            "line 3, column 18: the DataFrame has no column 'resp_statsu'; did you mean 'resp_status'?",
        ),
        ("px.display(df[df.ctx['pdo'] == 'a'])", "line 3, column 22: ctx has no 'pdo'; did you mean 'pod'?"),
        ("px.display(df.head(m=3))", "line 3, column 20: head has no argument 'm'; did you mean 'n'?"),
        (
            "px.display(df.merge(df, how='outr', left_on='upid', right_on='upid'))",
            "line 3, column 29: how is inner, left, right or outer, not 'outr'; did you mean 'outer'?",
        ),
    ] {
        assert_eq!(error(&format!("{frame}{line}")), expected);
    }
}

#[test]
fn types_that_do_not_fit_are_refused_with_those_that_do() {
    let frame = "df = px.DataFrame('http_events')\n";
    for (line, part) in [
        ("px.display(df[df.latency])", "rows are kept by a BOOLEAN, not by INT64"),
        ("px.display(df[df.req_path + 1 == 'a'])", "px.add is not defined for (STRING, INT64)"),
        ("px.display(df[px.contains(df.latency, 'a')])", "it is (STRING, STRING) -> BOOLEAN"),
        ("px.display(df.head('three'))", "the number of rows is a whole number, not a string"),
        ("px.display(df.head(-1))", "cannot be negative"),
        ("px.display(df.groupby('upid'))", "which lack their .agg(..)"),
        ("px.display(df.agg(a=('latency', px.floor)))", "makes a value of a row"),
        ("px.display(df.agg(a=('latency', px.quantile)))", "did you mean 'quantiles'?"),
        ("px.display(df.agg(('latency', px.sum)))", "agg takes name=('column', function)"),
        ("px.display(df.agg(a='latency'))", "agg takes a=('column', function), not a string"),
        ("px.display(df[px.sum(df.latency) > 1])", "makes a value of a group"),
        ("px.display(df[px.Pod(df.latency) == 'a'])", "px.Pod is made of STRING, not of INT64"),
        ("px.display(df[['latency', 'latency']])", "kept twice"),
        ("px.display(df.groupby(['upid', 'upid']).agg())", "groups twice"),
        ("px.display(df.groupby(['upid']).agg(upid=('latency', px.sum)))", "made twice"),
        ("px.display('text')", "what is displayed is a DataFrame, not a string"),
        ("px.display(df.drop(5))", "what is dropped is the name of a column"),
        ("px.display(df[3])", "indexed by a condition, a name or a list"),
        ("px.display(df.latency)", "not a column of INT64"),
        ("df.x = df\npx.display(df)", "cannot be a DataFrame"),
        ("mask = df.latency > 1\ndf = df.drop('latency')\npx.display(df[mask])", "no column 'latency' of the type"),
        (
            "mask = df.latency > 1\ndf.latency = 'now a text'\npx.display(df[mask])",
            "of the type that this was made with",
        ),
        ("px.display(df.stream())", "streams are not supported"),
        ("px.display(df.rolling('3s'))", "rolling windows are not supported"),
        ("px.export(df, 1)", "px.export is not supported"),
        ("px.vis.vega('{}')", "px.vis is not supported"),
        ("px.display(df, 'a\\nb')", "no control characters"),
        ("px.display(px.DataFrame('http_events', start_time='soon'))", "start_time is e.g. '-5m'"),
        ("px.display(px.DataFrame('http_events', start_time=1.5))", "start_time is a time, not a number"),
        ("px.display(px.DataFrame())", "needs the argument 'table'"),
        ("px.display(df[px.contains(s=df.req_path, p='a')])", "takes its arguments without names"),
        ("px.display(px.GetTables(5))", "px.GetTables has the arguments: none"),
        ("df.nothing()\npx.display(df)", "no column 'nothing'"),
    ] {
        let message = error(&format!("{frame}{line}"));
        assert!(message.contains(part), "{line}: {message}");
        assert!(message.starts_with("line 3") || message.starts_with("line 5"), "{line}: {message}");
    }
}

#[test]
fn several_errors_are_reported_at_once_and_none_twice() {
    let script = "import px\ndf = px.DataFrame('http_events')\ndf.a = df.latncy\ndf.b = df.a + 1\ndf = df[df.b > px.noww()]\ndf.c = px.flor(df.latency)\n\
                  other = px.DataFrame('nothing_like_it')\nother.x = 1\npx.display(df[['a', 'c']])\npx.display(other)\n";
    let errors = errors(script);
    let expected = [
        "line 3, column 11: the DataFrame has no column 'latncy'; did you mean 'latency'?",
        "line 5, column 19: px has no function 'noww'; did you mean 'now'?",
        "line 6, column 11: px has no function 'flor'; did you mean 'floor'?",
    ];
    assert_eq!(errors[..3], expected);
    assert!(errors[3].starts_with("line 7, column 22: there is no table 'nothing_like_it'"), "{errors:?}");
    assert_eq!(errors.len(), 4, "what follows from an error is not another one: {errors:?}");
}

#[test]
fn missing_imports_and_displays_are_named() {
    assert_eq!(errors("df = px.DataFrame('http_events')")[0], "line 1, column 6: 'px' is not defined: add 'import px'");
    assert_eq!(errors("import px\n")[0], "line 1, column 1: the script displays nothing: add px.display(df, 'name')");
    assert_eq!(errors("")[0], "line 1, column 1: the script displays nothing: add px.display(df, 'name')");
    assert!(errors("import pandas")[0].contains("px and pxviews exist"));
    assert!(errors("import pxconfig")[0].contains("pxconfig is not supported"));
}

#[test]
fn errors_inside_of_a_view_are_reported_where_it_is_called() {
    let errors =
        errors("import px\nimport pxviews\ndf = pxviews.http_graph('-5m', 'soon')\npx.display(pxviews.nothing())");
    assert!(errors[0].starts_with("line 3, column 14: in pxviews.http_graph: end_time is"), "{errors:?}");
    assert!(errors[1].starts_with("line 4, column 20: pxviews has no function 'nothing'"), "{errors:?}");
}

fn called(script: &str, function: &str, arguments: &[(&str, &str)]) -> Result<String, String> {
    let functions = [FunctionCall { function, arguments, output: "table" }];
    let compiled = compile(&Request { script, functions: &functions, now: NOW });
    compiled.map(|plan| plan.to_string()).map_err(|errors| errors[0].to_string())
}

#[test]
fn arguments_of_a_client_are_read_by_the_declared_types() {
    let script = "import px\n\ndef rows(start_time: str, n: int, only_errors: bool, least: float, pod: px.Pod):\n    df = px.DataFrame('http_events', start_time=start_time)\n    \
                  df = df[df.is_error == only_errors and df.latency / 2 > least and df.ctx['pod'] == pod]\n    return df.head(n)\n\n\
                  def nothing():\n    px.now()\n\ndef both():\n    df = px.DataFrame('mux_events')\n    return df, df.head(1)\n";
    let given = [("start_time", "-5m"), ("n", "7"), ("only_errors", "true"), ("least", "1.5"), ("pod", "shop/cart")];
    let plan = called(script, "rows", &given).unwrap();
    assert!(
        plan.contains("limit 7") && plan.contains("equal(is_error, true)") && plan.contains("\"shop/cart\""),
        "{plan}"
    );
    let with = |name: &str, value: &'static str| {
        let changed: Vec<(&str, &str)> =
            given.iter().map(|(known, old)| (*known, if *known == name { value } else { *old })).collect();
        called(script, "rows", &changed).unwrap_err()
    };
    assert_eq!(with("n", "many"), "line 3, column 27: the argument 'n' is of type int, unlike 'many'");
    assert!(with("only_errors", "maybe").contains("of type bool"));
    assert!(with("least", "x").contains("of type float"));
    assert_eq!(called(script, "rows", &given[..4]).unwrap_err(), "line 3, column 5: rows needs the argument 'pod'");
    assert!(
        called(script, "rows", &[("pods", "a")])
            .unwrap_err()
            .contains("rows has no argument 'pods'; did you mean 'pod'?")
    );
    assert!(called(script, "row", &[]).unwrap_err().contains("no function 'row'; did you mean 'rows'?"));
    assert!(called(script, "nothing", &[]).unwrap_err().contains("nothing returns None, and no DataFrame"));
    let both = called(script, "both", &[]).unwrap();
    assert!(both.contains("output \"table[0]\"") && both.contains("output \"table[1]\""), "{both}");
}

#[test]
fn numbers_times_and_durations_that_overflow_are_refused() {
    for (line, part) in [
        ("x = 9223372036854775807 + 1", "does not fit into 64 bits"),
        ("x = -(-9223372036854775807 - 1)", "does not fit into 64 bits"),
        ("x = 9223372036854775808", "is not a number of 64 bits"),
        ("x = px.days(1000000)", "the duration does not fit"),
        ("x = px.now() + 9223372036854775807", "the time does not fit"),
        ("x = px.make_upid(-1, 2, 3)", "asid is out of range"),
        ("x = px.uint128('12')", "is a UUID of 32 digits"),
        ("x = px.parse_duration('soon')", "a duration is e.g. '-5m'"),
        ("x = px.strptime('soon', '%Y')", "is no time of the format"),
        ("x = 'a' + 1", "'px.add"),
        ("x = None + 1", "'+' between None and a whole number"),
        ("x = -'a'", "px.negate is not defined for (STRING)"),
        ("x = +'a'", "'+' before a string"),
    ] {
        let message = error(line);
        assert!(message.contains(part.trim_start_matches('\'')), "{line}: {message}");
    }
}

#[test]
fn errors_at_the_end_are_on_a_line_of_the_script() {
    assert_eq!(errors("import px\ndef f():\n"), ["line 2, column 9: a function needs an indented line below it"]);
    assert_eq!(errors("import px\nx =\n\n\n"), ["line 2, column 4: expected an expression, found the end of the line"]);
    assert_eq!(errors("import px\nx = f(\n")[0], "line 2, column 6: '(' is never closed");
}
