use super::*;
use crate::error::ScriptError;

fn kinds(script: &str) -> Vec<String> {
    let mut errors = Errors::default();
    let lexed = tokenize(script, &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    let shown = lexed.tokens.into_iter().map(|token| match token.kind {
        TokenKind::Name(name) => name.to_owned(),
        TokenKind::Keyword(word) => word.to_uppercase(),
        TokenKind::Integer(number) => number.to_string(),
        TokenKind::Float(number) => format!("{number:?}"),
        TokenKind::Text(text) => format!("{text:?}"),
        TokenKind::Symbol(symbol) => symbol.to_owned(),
        TokenKind::NewLine => "NL".to_owned(),
        TokenKind::Indent => "IN".to_owned(),
        TokenKind::Dedent => "OUT".to_owned(),
        TokenKind::EndOfScript => "END".to_owned(),
    });
    shown.collect()
}

fn errors(script: &str) -> Vec<ScriptError> {
    let mut errors = Errors::default();
    tokenize(script, &mut errors);
    errors.into_result(()).unwrap_err()
}

#[test]
fn lines_end_only_outside_of_brackets() {
    assert_eq!(kinds("a = (1,\n\n  2)\n\n# note\nb").join(" "), "a = ( 1 , 2 ) NL b NL END");
    assert_eq!(kinds("a = 1 + \\\n 2\n").join(" "), "a = 1 + 2 NL END");
}

#[test]
fn indentation_opens_and_closes_blocks() {
    let script = "def f():\n  # note\n  a\n\n  b\nc\n";
    assert_eq!(kinds(script).join(" "), "DEF f ( ) : NL IN a NL b NL OUT c NL END");
    assert_eq!(kinds("def f():\n\ta\n        b").join(" "), "DEF f ( ) : NL IN a NL b NL OUT END");
}

#[test]
fn strings_are_read_as_python_reads_them() {
    let of = |script: &str| kinds(script)[0].clone();
    assert_eq!(of(r#"'a\'b\n\x41é\d'"#), r#""a'b\nA\u{e9}\\d""#.replace(r"\u{e9}", "é"));
    assert_eq!(of("'''a\n\"b''c'''"), "\"a\\n\\\"b''c\"");
    assert_eq!(of(r#"r'127\.0'"#), r#""127\\.0""#);
    assert_eq!(of("\"\""), "\"\"");
}

#[test]
fn numbers_have_all_their_notations() {
    assert_eq!(
        kinds("1 1_000 0x1F 0b11 0o17 1.5 .5 2. 1e3 1.5e-3").join(" "),
        "1 1000 31 3 15 1.5 0.5 2.0 1000.0 0.0015 NL END"
    );
}

#[test]
fn errors_say_line_and_column() {
    let shown: Vec<String> = errors("a = 'open\nb = 12ab\nc = $\nd = )\n").iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "line 1, column 5: the string that begins with ' here is never closed",
            "line 2, column 5: '12ab' is not a number of 64 bits",
            "line 3, column 5: the character '$' is not part of PxL",
            "line 4, column 5: ')' closes nothing",
        ]
    );
    assert_eq!(errors("é = (\n")[0].to_string(), "line 1, column 5: '(' is never closed");
    assert!(errors("x = f'{a}'")[0].message.contains("formatted strings"));
    assert!(errors("def f():\n    a\n  b\n")[0].to_string().starts_with("line 3, column 3"));
}

#[test]
fn settings_are_comments_at_the_beginning_of_a_line() {
    let mut errors = Errors::default();
    let lexed = tokenize("#px:set max_output_rows_per_table=5\nimport px\n  #px:set x=1\n", &mut errors);
    assert_eq!(lexed.settings, [(Position::START, " max_output_rows_per_table=5")]);
}
