use proptest::prelude::*;

use super::*;

fn postgres(text: &str) -> String {
    sql(text, SqlDialect::Postgres)
}

#[test]
fn literals_become_placeholders() {
    for (statement, shown) in [
        ("SELECT * FROM t WHERE a = 'x''y' AND b = 12", "SELECT * FROM t WHERE a = ? AND b = ?"),
        ("select -1.5e-10, .5, 0x1F, 1_000, 5.", "select -?, ?, ?, ?, ?"),
        ("select E'a\\'b', U&'\\0441' UESCAPE '!', B'01', x'1F', N'n'", "select ?, ? UESCAPE ?, ?, ?, ?"),
        ("select $$body$$, $q$it's $$ $q$, $1, $12::text", "select ?, ?, $1, $12::text"),
        ("SELECT t1.\"Name\"\"x\" FROM schema_2.t1", "SELECT t1.\"Name\"\"x\" FROM schema_2.t1"),
        ("WHERE id IN (1,2,  3) LIMIT 10", "WHERE id IN (?,?, ?) LIMIT ?"),
        ("select a /* secret /* nested */ here */ , b -- secret\n from t", "select a , b from t"),
        ("ALTER USER bob WITH PASSWORD 'hunter2'", "ALTER USER bob WITH PASSWORD ?"),
        ("select '2020-01-01'::date, date'2020-01-01'", "select ?::date, date?"),
        ("select a[1:2], b->>'k', c ? 'k'", "select a[?:?], b->>?, c ? ?"),
        ("select x LIKE 'a\\_b' ESCAPE '\\' AND y = 'z'", "select x LIKE ? ESCAPE ? AND y = ?"),
        ("DO $$ begin perform 'x'; end $$", "DO ?"),
        ("select 1..10", "select ?"),
        ("select 'a'\n  'b'", "select ? ?"),
        ("", ""),
    ] {
        assert_eq!(postgres(statement), shown);
    }
}

#[test]
fn what_is_cut_takes_the_rest() {
    for (statement, shown) in [
        ("SELECT 'secr", "SELECT ?"),
        ("SELECT 'a'' secret", "SELECT ?"),
        ("SELECT $t$ secret $t", "SELECT ?"),
        ("SELECT $secre", "SELECT ?"),
        ("SELECT /* secret", "SELECT"),
        ("SELECT \"secret", "SELECT ?"),
        // Where backslashes escape, the string goes on; where they do not, it ends: nothing behind is shown.
        ("SELECT 'it\\'s secret', x", "SELECT ?"),
    ] {
        assert_eq!(postgres(statement), shown);
    }
}

#[test]
fn values_of_custom_settings_are_literals() {
    assert_eq!(postgres("SET app.token TO abc123def"), "SET app.token TO ?");
    assert_eq!(postgres("set local app.token = \"abc\"; SELECT a FROM t"), "set local app.token = ?; SELECT a FROM t");
    assert_eq!(postgres("ALTER ROLE bob SET app.token = abc"), "ALTER ROLE bob SET app.token = ?");
    assert_eq!(postgres("SET search_path TO public, app"), "SET search_path TO public, app");
    assert_eq!(postgres("UPDATE t SET a = b.c"), "UPDATE t SET a = b.c");
}

#[test]
fn mysql_has_other_quotes() {
    let shown = |text| sql(text, SqlDialect::MySql);
    assert_eq!(shown("select \"a\\\"b\", 'it\\'s', `col`, _utf8'x' # secret"), "select ?, ?, `col`, _utf8?");
    assert_eq!(shown("select $a, /* x /* y */ b"), "select $a, b");
    assert_eq!(shown("select */* c */ from t -- secret\n, 5--1, 'x' --- secret"), "select * from t , ?--?, ? ?");
    assert_eq!(shown("select x'4D', 0x4d, b'01', N'n', `a``b`, @v := 'x'"), "select ?, ?, ?, ?, `a``b`, @v := ?");
}

#[test]
fn strings_of_mysql_end_as_the_mode_says() {
    let any = |text| sql(text, SqlDialect::MySqlOfAnyMode);
    assert_eq!(any("select 'a', \"b''c\", d"), "select ?, ?, d");
    // Two strings, or one that goes on.
    assert_eq!(any("select 'a\\', 'secret', b"), "select ?");
    assert_eq!(sql("select 'a\\', 'c', d", SqlDialect::MySql), "select ?c?");
    // In GBK the backslash is a part of a character.
    assert_eq!(sql("select '\u{fffd}\\', secret'", SqlDialect::MySql), "select ?");
}

#[test]
fn executable_comments_are_shown_where_all_servers_agree() {
    for (statement, shown) in [
        ("/*!40101 SET NAMES utf8 */;", "SET NAMES utf8 ;"),
        ("/*!40000 ALTER TABLE `t` DISABLE KEYS */", "ALTER TABLE `t` DISABLE KEYS"),
        ("SELECT /*!99999 'x', */ a /*M!100100 , b */ FROM t", "SELECT ?, a , b FROM t"),
        ("SELECT /*! 'it*/ secret' */", "SELECT ?"),
        ("SELECT /*!99999 it's */ 'secret'", "SELECT ?"),
        ("SELECT /*! # */ '\n secret'", "SELECT ?"),
        ("SELECT /*! secret", "SELECT ?"),
    ] {
        assert_eq!(sql(statement, SqlDialect::MySql), shown);
    }
}

/// SQL of a grammar, with the texts of its literals.
fn statement() -> impl Strategy<Value = (String, Vec<String>)> {
    let secret = "[g-z]{4,9}[0-9]{2}";
    let literal = (secret, 0_usize..10).prop_map(|(secret, form)| {
        let text = match form {
            0 => format!("'{secret}'"),
            1 => format!("'a''{secret}'"),
            2 => format!("E'\\'{secret}\\\\'"),
            3 => format!("$${secret}$$"),
            4 => format!("$tag$ '{secret} $$ $tag$"),
            5 => format!("U&'{secret}'"),
            6 => format!("/* {secret} '\" /* $$ */ */ 1"),
            7 => format!("-- {secret} '\n 2"),
            8 => format!("7{secret}"),
            _ => format!("'\"{secret}\"'"),
        };
        (text, secret)
    });
    let name = prop_oneof![Just("a"), Just("t_1.b"), Just("\"C d\""), Just("$1"), Just("COUNT(*)"), Just("x$y")];
    let term = prop_oneof![
        2 => literal.prop_map(|(text, secret)| (text, vec![secret])),
        1 => name.prop_map(|name| (name.to_owned(), Vec::new())),
    ];
    let symbol =
        prop_oneof![Just(" = "), Just(","), Just("::text || "), Just(" AND "), Just("("), Just(") IN ("), Just(";")];
    (proptest::collection::vec((term, symbol), 1..12), any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(parts, cut, is_cut)| {
            let mut text = "SELECT ".to_owned();
            let mut secrets = Vec::new();
            for ((term, own), symbol) in parts {
                text += &term;
                text += symbol;
                secrets.extend(own);
            }
            if is_cut {
                text.truncate(cut.index(text.len()));
            }
            (text, secrets)
        },
    )
}

proptest! {
    #[test]
    fn no_literal_is_shown((text, secrets) in statement()) {
        let shown = postgres(&text);
        for secret in secrets {
            for part in secret.as_bytes().windows(4) {
                let part = std::str::from_utf8(part).unwrap();
                prop_assert!(!shown.contains(part), "{part:?} of {text:?} is in {shown:?}");
            }
        }
    }

    #[test]
    fn redacting_twice_changes_nothing((text, _) in statement()) {
        let once = postgres(&text);
        prop_assert_eq!(postgres(&once), once);
    }

    #[test]
    fn any_text_is_redacted_without_panic(text in "\\PC*|[-'\"$/*\\\\a1 .;#`\\n]{0,40}") {
        for dialect in [SqlDialect::Postgres, SqlDialect::MySql, SqlDialect::MySqlOfAnyMode] {
            let once = sql(&text, dialect);
            prop_assert_eq!(sql(&once, dialect), once);
        }
    }
}
