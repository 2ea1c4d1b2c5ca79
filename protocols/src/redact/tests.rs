use super::*;

#[test]
fn credentials_are_never_shown() {
    for name in [
        "Authorization",
        "PROXY-authorization",
        "Cookie",
        "set-cookie",
        "X-Api-Key",
        "x-auth-token",
        "X-Amz-Security-Token",
        "X-CSRF-Token",
        "Sec-Session-Id",
        "X-Forwarded-Client-Cert",
        "WWW-Authenticate",
        "X-Vault-Token",
        "Ocp-Apim-Subscription-Key",
    ] {
        assert_eq!(header_value(name, "Bearer abc", &[]), REDACTED, "{name}");
    }
    for name in ["Accept", "Content-Type", "Host", "Server", "Sec-WebSocket-Key", "Keep-Alive", "Author"] {
        assert_eq!(header_value(name, "text/html; q=0.8", &[]), "text/html; q=0.8", "{name}");
    }
}

#[test]
fn listed_headers_are_redacted_without_regard_to_case() {
    let listed = ["X-Customer".to_owned(), "x-private-*".to_owned()];
    assert_eq!(header_value("x-CUSTOMER", "bob", &listed), REDACTED);
    assert_eq!(header_value("X-Private-Note", "bob", &listed), REDACTED);
    assert_eq!(header_value("X-Customer-Id", "bob", &listed), "bob");
}

#[test]
fn values_in_urls_are_redacted() {
    for (target, shown) in [
        ("/a", "/a"),
        ("/a?b=c&d=e&f=", "/a?b=<redacted>&d=<redacted>&f="),
        ("/a?secret", "/a?<redacted>"),
        ("/a?b=c;d?e=f", "/a?b=<redacted>"),
        ("/a?b=c#access_token=x", "/a?b=<redacted>#<redacted>"),
        ("/a;jsessionid=1/b;v=2", "/a;jsessionid=<redacted>/b;v=<redacted>"),
        ("http://user:pw@host:80/a?b=c", "http://<redacted>@host:80/a?b=<redacted>"),
        ("http://us/er:p@w@host/a", "http://us/er:p@w@host/a"),
        ("*", "*"),
        ("/?q=é%20x", "/?q=<redacted>"),
    ] {
        assert_eq!(query(target), shown);
        assert_eq!(query(shown), shown, "twice");
    }
}

#[test]
fn urls_in_headers_are_redacted() {
    for (name, value, shown) in [
        ("Referer", "https://h/p?q=secret&r=1", "https://h/p?q=<redacted>&r=<redacted>"),
        ("Location", "/done?code=abc", "/done?code=<redacted>"),
        ("Link", "<https://h/p?page=2>; rel=\"next\"", "<https://h/p?page=<redacted>>; rel=\"next\""),
        ("Refresh", "5; url=/a?b=c", "5; url=/a?b=<redacted>"),
        ("X-Original-Url", "/a?b=c,d", "/a?b=<redacted>"),
        ("User-Agent", "Bot/2.1 (compatible; +http://h/bot.html)", "Bot/2.1 (compatible; +http://h/bot.html)"),
        ("Content-Type", "text/html; charset=utf-8", "text/html; charset=utf-8"),
    ] {
        assert_eq!(header_value(name, value, &[]), shown, "{name}");
        assert_eq!(header_value(name, shown, &[]), shown, "{name} twice");
    }
}

#[test]
fn values_in_postgres_errors_are_redacted() {
    for (code, message, shown) in [
        (
            "22P02",
            "invalid input syntax for type integer: \"se\"cr\"et\"",
            "invalid input syntax for type integer: \"<redacted>\"",
        ),
        ("22P02", "ungültige Syntax für Typ integer: »secret«", "ungültige Syntax für Typ integer: »<redacted>«"),
        ("22003", "value 99999999999 is out of range", "value ? is out of range"),
        (
            "22008",
            "date/time field value out of range: \"2020-13-01\"",
            "date/time field value out of range: \"<redacted>\"",
        ),
        ("42601", "syntax error at or near \"secret\"", "syntax error at or near \"<redacted>\""),
        (
            "28P01",
            "password authentication failed for user \"bob\"",
            "password authentication failed for user \"<redacted>\"",
        ),
        ("42P01", "relation \"orders\" does not exist", "relation \"orders\" does not exist"),
        (
            "23505",
            "duplicate key value violates unique constraint \"users_pkey\"",
            "duplicate key value violates unique constraint \"users_pkey\"",
        ),
        ("22000", "Key (email)=(x@y) is bad", "Key (<redacted>) is bad"),
        ("57014", "canceling statement due to user request", "canceling statement due to user request"),
        ("P0001", "no money left for bob", REDACTED),
    ] {
        assert_eq!(pgsql_error(code, "x", message), shown);
    }
    assert_eq!(pgsql_error("23505", "exec_stmt_raise", "user bob exists"), REDACTED);
}

#[test]
fn values_in_redis_errors_are_redacted() {
    for (message, shown) in [
        ("ERR unknown command 'secret', with args beginning with: 'a' 'b'", "ERR unknown command '<redacted>'"),
        ("WRONGTYPE Operation against a key", "WRONGTYPE Operation against a key"),
        ("MOVED 3999 127.0.0.1:6381", "MOVED 3999 127.0.0.1:6381"),
        ("LOADING", "LOADING"),
        ("bob has no money", REDACTED),
    ] {
        assert_eq!(redis_error(message, false), shown);
    }
    assert_eq!(redis_error("ERR bob has no money", true), "ERR <redacted>");
}
