//! What the tests of scripts share: sections of the files in `scripts/`, and plans of them.

use trilobite_pxl::{FunctionCall, Plan, Request, ScriptError, compile};

/// 2026-11-30T12:00:00Z.
pub(crate) const NOW: i64 = 1_796_040_000_000_000_000;

/// A script of a file: which of Pixie's it stands for, what a client calls, and what it makes.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) calls: Vec<Call>,
    /// Name of a table, and its columns.
    pub(crate) outputs: Vec<(String, String)>,
    pub(crate) script: String,
}

/// `#> call FUNCTION(NAME=VALUE, ..) -> TABLE`
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) function: String,
    pub(crate) arguments: Vec<(String, String)>,
    pub(crate) output: String,
}

pub(crate) const FILES: [&str; 4] = [
    include_str!("../scripts/data.pxl"),
    include_str!("../scripts/traffic.pxl"),
    include_str!("../scripts/overview.pxl"),
    include_str!("../scripts/resources.pxl"),
];

/// The scripts of a file, once for each name.
pub(crate) fn sections(file: &str) -> Vec<Section> {
    let mut sections = Vec::new();
    for part in file.split("\n#### ").skip(1) {
        let (names, body) = part.split_once('\n').unwrap();
        for name in names.split_whitespace() {
            let table = name.split(['/', '_']).nth(1).unwrap();
            sections.push(section(name, &body.replace("EVENTS", &format!("{table}_events"))));
        }
    }
    sections
}

fn section(name: &str, body: &str) -> Section {
    let mut section = Section { name: name.to_owned(), calls: Vec::new(), outputs: Vec::new(), script: String::new() };
    for line in body.lines() {
        if let Some(call) = line.strip_prefix("#> call ") {
            section.calls.push(parse_call(call));
        } else if let Some(output) = line.strip_prefix("#> ") {
            let (name, columns) = output.split_once(": ").unwrap();
            section.outputs.push((name.to_owned(), columns.to_owned()));
        } else {
            section.script.push_str(line);
            section.script.push('\n');
        }
    }
    section
}

fn parse_call(text: &str) -> Call {
    let (function, rest) = text.split_once('(').unwrap();
    let (arguments, output) = rest.split_once(") -> ").unwrap();
    let arguments = arguments.split(", ").filter(|argument| !argument.is_empty()).map(|argument| {
        let (name, value) = argument.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    Call { function: function.to_owned(), arguments: arguments.collect(), output: output.to_owned() }
}

pub(crate) fn plan(script: &str) -> Result<Plan, Vec<ScriptError>> {
    compile(&Request { script, functions: &[], now: NOW })
}

/// The plan of a script without its `import px`, which displays `df`.
pub(crate) fn plan_of(lines: &str) -> Plan {
    plan(&format!("import px\n{lines}\npx.display(df, 'df')\n")).unwrap_or_else(|errors| panic!("{lines}: {errors:?}"))
}

/// The columns of the first table of a plan.
pub(crate) fn columns(plan: &Plan) -> String {
    let columns = plan.output_columns(&plan.outputs[0]).into_iter().map(ToString::to_string);
    columns.collect::<Vec<_>>().join(", ")
}

/// What is wrong with a script, as text.
pub(crate) fn errors(script: &str) -> Vec<String> {
    plan(script).expect_err(script).iter().map(ToString::to_string).collect()
}

pub(crate) fn plan_of_section(section: &Section, script: &str) -> Result<Plan, Vec<ScriptError>> {
    let arguments: Vec<Vec<(&str, &str)>> = section
        .calls
        .iter()
        .map(|call| call.arguments.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
        .collect();
    let calls = section.calls.iter().zip(&arguments);
    let functions: Vec<FunctionCall<'_>> = calls
        .map(|(call, arguments)| FunctionCall { function: &call.function, arguments, output: &call.output })
        .collect();
    compile(&Request { script, functions: &functions, now: NOW })
}
