use std::fmt::Write;

use super::ast::{Argument, Expr, ExprKind, StatementKind, Unary};
use super::*;
use crate::lexer::tokenize;

fn parsed(script: &str) -> Result<Vec<Statement>, Vec<String>> {
    let mut errors = Errors::default();
    let lexed = tokenize(script, &mut errors);
    let statements = parse(lexed.tokens, &mut errors);
    errors.into_result(statements).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// Each operation in brackets of its own.
fn shown(expression: &Expr) -> String {
    let list = |items: &[Expr]| items.iter().map(shown).collect::<Vec<_>>().join(" ");
    match &expression.kind {
        ExprKind::None => "None".into(),
        ExprKind::Truth(truth) => truth.to_string(),
        ExprKind::Integer(number) => number.to_string(),
        ExprKind::Float(number) => format!("{number:?}"),
        ExprKind::Text(text) => format!("{text:?}"),
        ExprKind::Name(name) => name.to_string(),
        ExprKind::List(items) => format!("[{}]", list(items)),
        ExprKind::Tuple(items) => format!("<{}>", list(items)),
        ExprKind::Dict(entries) => {
            entries.iter().fold(String::new(), |all, (key, value)| format!("{all}{{{}: {}}}", shown(key), shown(value)))
        }
        ExprKind::Attribute { of, name, .. } => format!("{}.{name}", shown(of)),
        ExprKind::Subscript { of, index } => format!("{}[{}]", shown(of), shown(index)),
        ExprKind::Call { function, arguments } => {
            let mut text = format!("{}(", shown(function));
            for Argument { name, value, .. } in arguments {
                let name = name.as_ref().map(|name| format!("{name}=")).unwrap_or_default();
                write!(text, "{name}{},", shown(value)).unwrap();
            }
            text + ")"
        }
        ExprKind::Unary { operator, operand } => {
            let symbol = match operator {
                Unary::Not => "not ",
                Unary::Minus => "-",
                Unary::Plus => "+",
            };
            format!("({symbol}{})", shown(operand))
        }
        ExprKind::Binary { operator, left, right, .. } => {
            format!("({} {} {})", shown(left), operator.symbol(), shown(right))
        }
    }
}

fn expression(script: &str) -> String {
    match &parsed(script).unwrap()[..] {
        [Statement { kind: StatementKind::Expression(expression), .. }] => shown(expression),
        other => panic!("{other:?}"),
    }
}

#[test]
fn operators_bind_as_in_python() {
    assert_eq!(expression("a or b and not c == d + e * f"), "(a or (b and (not (c == (d + (e * f))))))");
    assert_eq!(expression("a - b - c / d / e"), "((a - b) - ((c / d) / e))");
    assert_eq!(expression("-a.b * +c"), "((-a.b) * (+c))");
    assert_eq!(expression("not a or b"), "((not a) or b)");
    assert_eq!(expression("a % 2 != -1"), "((a % 2) != (-1))");
}

#[test]
fn calls_subscripts_and_literals_are_read() {
    assert_eq!(expression("df[df.a == 'x'].head(n=5)"), "df[(df.a == \"x\")].head(n=5,)");
    assert_eq!(
        expression("f([1, 2.0,], (1,), (), {'a': None, 'b': True}, (2))"),
        "f([1 2.0],<1>,<>,{\"a\": None}{\"b\": true},2,)"
    );
    assert_eq!(expression("'a' \"b\"\n"), "\"ab\"");
}

#[test]
fn commas_before_named_arguments_may_be_missing() {
    let with = expression("df.agg(a=('x', px.count), b=('y', px.sum),)");
    assert_eq!(expression("df.agg(a=('x', px.count)\n b=('y', px.sum)\n)"), with);
    assert_eq!(expression("px.DataFrame('t' start_time=t)"), "px.DataFrame(\"t\",start_time=t,)");
    assert_eq!(parsed("f(a b)").unwrap_err(), ["line 1, column 5: expected ',' or ')', found 'b'"]);
}

#[test]
fn functions_have_annotations_and_defaults() {
    let script = "def f(a: str, b: px.Pod = '', c=1) -> px.DataFrame:\n  '''What it does.'''\n  x = a\n  return x\n";
    let statements = parsed(script).unwrap();
    let StatementKind::Define(definition) = &statements[0].kind else { panic!("{statements:?}") };
    assert_eq!((&*definition.name, definition.parameters.len(), definition.body.len()), ("f", 3, 3));
    let annotations: Vec<_> = definition.parameters.iter().map(|it| it.annotation.as_ref().map(shown)).collect();
    assert_eq!(annotations, [Some("str".to_owned()), Some("px.Pod".to_owned()), None]);
}

#[test]
fn several_errors_are_found_and_lines_between_them_are_read() {
    let script = "a = = 1\nb = 2\nif b:\n  c = 3\nd = [1, 2\n  3]\ndef f(x, x): return 1\ng += 1\na = b = c\n";
    let errors = parsed(script).unwrap_err();
    let expected = [
        "line 1, column 5: expected an expression, found '='",
        "line 3, column 1: 'if' is not part of PxL: px.select(condition, yes, no) chooses a value",
        "line 6, column 3: expected ',' or ']', found a number",
        "line 7, column 10: two parameters have the name 'x'",
        "line 8, column 3: '+=' is not part of PxL: write 'x = x + ..'",
        "line 9, column 7: an assignment has one target: write one line for each",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn what_python_has_and_pxl_lacks_is_refused_with_advice() {
    for (script, part) in [
        ("a if b else c", "px.select"),
        ("x = [a for a in b]", "'for'"),
        ("lambda x: x", "'lambda'"),
        ("a in b", "px.contains"),
        ("a not in b", "px.contains"),
        ("a is None", "'=='"),
        ("a < b < c", "chained"),
        ("a // b", "px.floor"),
        ("a ** b", "px.pow"),
        ("~a", "'not'"),
        ("a[1:2]", "slices"),
        ("while a:\n  b", "'while'"),
        ("class A:\n  b = 1", "'class'"),
        ("def f(*a): return a", "'*args'"),
        ("def f(a=1, b): return a", "no default"),
        ("def f():\n  def g():\n    return 1\n  return 2", "inside of another"),
        ("return 1", "outside of a function"),
        ("import px as p", "'as'"),
        ("from pxtrace import kprobe", "TracingPolicy"),
        ("@pxtrace.probe('f')\ndef g(): return 1", "decorators"),
        ("f(a=1, a=2)", "twice"),
        ("f(a=1, 2)", "behind one that has a name"),
        ("f(*a)", "'*' before"),
        ("1 = a", "assigned to"),
    ] {
        let errors = parsed(script).unwrap_err();
        assert!(errors[0].contains(part), "{script}: {errors:?}");
    }
}

#[test]
fn nested_expressions_are_bounded() {
    for script in [
        "(".repeat(5000) + &")".repeat(5000),
        "f(".repeat(1000) + "1" + &")".repeat(1000),
        "-".repeat(3000) + "1",
        "not ".repeat(3000) + "a",
        "a".to_owned() + &" + a".repeat(3000),
        "a".to_owned() + &".b".repeat(3000),
        "a".to_owned() + &"()".repeat(3000),
        "[".repeat(3000),
    ] {
        let errors = parsed(&script).unwrap_err();
        assert!(errors.iter().any(|error| error.contains("inside of each other")), "{errors:?}");
    }
}
