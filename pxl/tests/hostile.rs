//! Scripts of strangers: no bytes make it panic, every refusal has a line and a column of the script, and none takes long.
//! TRILOBITE_PXL_SCRIPTS: scripts of each kind.

#![allow(clippy::unwrap_used, dead_code)]

mod support;

use support::{FILES, NOW, Section, errors, plan_of_section, sections};
use trilobite_pxl::{Request, ScriptError, compile};

/// Scripts of each kind where the environment says nothing.
const RUNS: u64 = 50_000;

const TOKENS: [&str; 64] = [
    "import",
    "px",
    "pxviews",
    "pxtrace",
    "df",
    "=",
    "px.DataFrame(",
    "'http_events'",
    "'pgsql_events'",
    ")",
    "(",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    ":",
    "\n",
    "\n",
    "\n    ",
    "def",
    "f",
    "return",
    "a",
    "b",
    "latency",
    "'latency'",
    "req_body",
    ".groupby(",
    ".agg(",
    "px.count",
    "px.sum",
    ".merge(",
    ".append(",
    ".head(",
    ".drop(",
    ".sort(",
    ".ctx",
    "['pod']",
    "px.display(",
    "px.select(",
    "px.contains(",
    "px.now()",
    "not",
    "and",
    "or",
    "==",
    "!=",
    "<",
    "+",
    "-",
    "*",
    "/",
    "%",
    "0",
    "1.5",
    "'-5m'",
    "None",
    "True",
    "lambda",
    "#px:set explain=true\n",
    "'''",
    "\\",
];

fn runs() -> u64 {
    std::env::var("TRILOBITE_PXL_SCRIPTS").ok().map_or(RUNS, |runs| runs.parse().expect("a number"))
}

fn check(script: &str, result: Result<impl Sized, Vec<ScriptError>>) {
    let Err(errors) = result else { return };
    let lines: Vec<&str> = script.strip_suffix('\n').unwrap_or(script).split('\n').collect();
    assert!(!errors.is_empty() && errors.len() <= 20, "{script}");
    for error in errors {
        let line = lines.get(error.position.line as usize - 1);
        let characters = line.map(|line| line.chars().count());
        let is_inside =
            characters.is_some_and(|characters| (1..=characters + 1).contains(&(error.position.column as usize)));
        assert!(is_inside, "{error} in {script:?}");
        assert!(!error.message.is_empty() && error.message.len() < 1000, "{error}");
    }
}

fn all_sections() -> Vec<Section> {
    FILES.into_iter().flat_map(sections).collect()
}

#[test]
fn random_tokens_give_a_plan_or_an_error_with_its_place() {
    let mut random = fastrand::Rng::with_seed(13);
    for _ in 0..runs() {
        let mut script = String::from(if random.bool() { "import px\n" } else { "" });
        for _ in 0..random.usize(..40) {
            script.push_str(TOKENS[random.usize(..TOKENS.len())]);
            script.push_str([" ", "", ""][random.usize(..3)]);
        }
        check(&script, compile(&Request { script: &script, functions: &[], now: NOW }));
    }
}

#[test]
fn changed_scripts_give_a_plan_or_an_error_with_its_place() {
    let sections = all_sections();
    let mut random = fastrand::Rng::with_seed(17);
    for _ in 0..runs() {
        let section = &sections[random.usize(..sections.len())];
        let mut characters: Vec<char> = section.script.chars().collect();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..characters.len());
            let token = TOKENS[random.usize(..TOKENS.len())];
            match random.u8(..5) {
                0 => drop(characters.remove(at)),
                1 => drop(characters.splice(at..at, token.chars())),
                2 => characters.truncate(at.max(20)),
                3 => characters[at] = random.char(..),
                _ => {
                    let end = (at + random.usize(..30)).min(characters.len());
                    characters.drain(at..end);
                }
            }
            if characters.is_empty() {
                characters.push('a');
            }
        }
        let script: String = characters.into_iter().collect();
        check(&script, plan_of_section(section, &script));
    }
}

#[test]
fn scripts_cut_at_every_character_give_errors_with_their_place() {
    for section in all_sections().into_iter().step_by(9) {
        for (cut, _) in section.script.char_indices() {
            let script = &section.script[..cut];
            check(script, plan_of_section(&section, script));
        }
    }
}

#[test]
fn scripts_that_are_too_long_are_refused() {
    let script = "a = 1\n".repeat(10 << 20 >> 2);
    assert_eq!(
        errors(&script),
        [format!("line 1, column 1: the script has {} bytes: at most 262144 are read", script.len())]
    );
}

#[test]
fn calls_inside_of_calls_are_refused() {
    let nested = format!("import px\nx = {}1{}\n", "px.floor(".repeat(1000), ")".repeat(1000));
    assert!(errors(&nested)[0].contains("line 2") && errors(&nested)[0].contains("inside of each other"));
}

#[test]
fn functions_that_call_themselves_or_grow_are_refused() {
    let endless = "import px\ndef f(x):\n    return f(x + 1)\npx.display(f(1))\n";
    assert_eq!(errors(endless), ["line 3, column 12: calls of functions are inside of each other too deep"]);
    let mut doubling = String::from("import px\ndef f0(): return 1\n");
    for level in 1..40 {
        doubling.push_str(&format!("def f{level}(): return f{}() + f{}()\n", level - 1, level - 1));
    }
    let script = format!("{doubling}px.display(f39())\n");
    assert!(errors(&script)[0].contains("more than 200000 steps"));
}

#[test]
fn texts_columns_expressions_and_steps_that_grow_are_refused() {
    let head = "import px\ndf = px.DataFrame('http_events')\n";
    let repeated =
        |line: &str, times: usize| format!("{head}x = 'ab'\ny = df.req_path\n{}px.display(df)\n", line.repeat(times));
    assert!(errors(&repeated("x = x + x\n", 40))[0].contains("the string becomes too long"));
    assert!(errors(&repeated("y = y + y\n", 40))[0].contains("the expression is too large"));
    assert!(errors(&repeated("y = y + 'a'\n", 400))[0].contains("the expression is too large"));
    assert!(errors(&repeated("df = df.head(5)\n", 3000))[0].contains("more than 2000 steps"));
    assert!(errors(&repeated("px.display(df)\n", 300))[0].contains("at most 100 tables"));
    let joined: String = (0..200).map(|line| format!("z{line} = x + '{line}'\n")).collect();
    let long = format!("{head}x = '{}'\n{joined}px.display(df)\n", "a".repeat(30_000));
    assert!(errors(&long)[0].contains("joins have more than"));
    let many = repeated("y = y + '/'\n", 100).replace("px.display", &"df.z = y\n".repeat(600)) + "px.display(df)\n";
    assert!(errors(&many)[0].contains("more than 100000 parts"), "{:?}", errors(&many));
    let wide: String = (0..400).map(|column| format!("df.c{column} = 1\n")).collect();
    assert!(errors(&format!("{head}{wide}px.display(df)\n"))[0].contains("at most 300 columns"));
    let doubled = "df = df.merge(df, left_on='upid', right_on='upid')\n";
    assert!(
        errors(&format!("{head}df = df[['upid', 'latency']]\n{doubled}{doubled}px.display(df)"))[0]
            .contains("no column 'upid'")
    );
}

#[test]
fn deepest_script_that_is_read_needs_a_small_stack() {
    let nested = format!("{}x{}", "px.abs(".repeat(45), ")".repeat(45));
    let mut script = String::from("import px\ndef f0(x): return x\n");
    for level in 1..40 {
        script.push_str(&format!("def f{level}(x): return f{}({nested})\n", level - 1));
    }
    script.push_str("px.display(f39(1))\n");
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(move || errors(&script)).unwrap();
    assert!(!thread.join().unwrap().is_empty());
}
