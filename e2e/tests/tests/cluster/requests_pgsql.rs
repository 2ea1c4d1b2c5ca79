//! Rows of PostgreSQL against the server's own log of statements: a simple and an extended client on the other node, errors, and
//! statements that sleep for a known time.

use trilobite_e2e::{
    Fixture,
    servers::{Row, ServerAndClient, assert_same, of_role},
};

const NAMESPACE: &str = "requests-pgsql";

const POSTGRES: &str = r#"export HOME=/tmp
initdb -D /tmp/data -U app --auth=trust --no-locale -E UTF8 >/tmp/initdb.log
echo "host all all all trust" >>/tmp/data/pg_hba.conf
exec postgres -D /tmp/data -c listen_addresses='*' -c unix_socket_directories=/tmp -c log_statement=all -c log_line_prefix='%c ' -c jit=off -c fsync=off 2>/tmp/postgres.log"#;

/// Simple queries, errors, and prepared statements in the order of the program.
const CLIENT: &str = r#"
import psycopg2, sys, time
def connect(): 
    c = psycopg2.connect(host=sys.argv[1], user='app', dbname='postgres'); c.autocommit = True; return c
c = connect(); q = c.cursor()
q.execute("create table if not exists items (id int primary key, name text)")
for n in range(20):
    c = connect(); q = c.cursor()
    for i in range(200):
        key = n * 1000 + i
        q.execute("insert into items values (%s, %s)", (key, 'secret-%d' % key))
        try: q.execute("insert into items values (%s, 'secret-again')", (key,))
        except psycopg2.Error: pass
        q.execute("select count(*) from items where id = %s", (key,)); q.fetchall()
    c.close()
c = connect(); q = c.cursor()
for delay in (0.1, 0.2, 0.4):
    begin = time.monotonic(); q.execute("select pg_sleep(%s)" % delay); q.fetchall()
    print('%.1f' % ((time.monotonic() - begin) * 1000))
"#;

#[test]
fn rows_equal_the_log_of_postgresql() {
    let fixture = Fixture::shared();
    fixture.stack("{application: {mode: OnDemand}}");
    let pods = ServerAndClient::start(fixture, NAMESPACE, "postgres", POSTGRES, 70);
    pods.profile("{protocols: [pgsql]}");
    let host = &pods.host;
    pods.wait_for_client(&format!("psql -h {host} -U app -d postgres -Atc 'select 1'"));

    let times = pods.run_python(CLIENT, "");
    let pgbench = format!(
        "echo '\\set n random(1, 1000)\nselect name from items where id = :n;' >/tmp/s.sql; \
         pgbench -h {host} -U app -n -M prepared -f /tmp/s.sql -t 500 -c 4 postgres"
    );
    pods.on_client(&pgbench);

    let log = pods.on_server("cat /tmp/postgres.log");
    let mut logged: Vec<String> = log.lines().filter_map(logged_statement).collect();
    logged.sort();
    let errors = log.lines().filter(|line| line.contains(" ERROR:  ")).count();
    assert!(logged.len() >= 14_000 && errors >= 4000, "{} statements and {errors} errors are logged", logged.len());

    let all = pods.rows(&["--protocol", "pgsql"], 2 * logged.len());
    for role in ["server", "client"] {
        let of_role = of_role(&all, role);
        let mut seen: Vec<String> = of_role.iter().map(|row| plain(row.text("target"))).collect();
        seen.sort();
        assert_same(&format!("statements of the {role}"), &seen, &logged);
        let failed: Vec<_> = of_role.iter().filter(|row| row.object["isError"] == true).collect();
        assert_eq!(failed.len(), errors, "errors of the {role}");
        assert!(failed.iter().all(|row| row.text("status").contains("23505")));
    }
    assert!(all.iter().all(|row| !row.object.to_string().contains("secret")), "literals are in rows");

    // The client's clock has the network and Python in it.
    let mut slept: Vec<f64> = all
        .iter()
        .filter(|row| row.text("role") == "client" && row.text("target").contains("pg_sleep"))
        .map(Row::latency_ms)
        .collect();
    slept.sort_by(f64::total_cmp);
    for (seen, measured) in slept.iter().zip(times.lines().map(|line| line.parse::<f64>().unwrap())) {
        let allowed = (measured * 0.05).max(2.0);
        assert!((seen - measured).abs() <= allowed, "{seen} ms in the row, {measured} ms by the client's clock");
    }
    assert_eq!(slept.len(), 3);
}

/// `SESSION LOG:  statement: select 1` and `SESSION LOG:  execute NAME: select $1`, without literals.
fn logged_statement(line: &str) -> Option<String> {
    let (_, text) = line.split_once(" LOG:  ")?;
    let statement = match text.strip_prefix("statement: ") {
        Some(statement) => statement,
        None => text.strip_prefix("execute ")?.split_once(": ")?.1,
    };
    Some(plain(statement))
}

/// A statement with one word for each literal or placeholder of a parameter, in one case and with single spaces.
fn plain(statement: &str) -> String {
    let mut out = String::new();
    let mut letters = statement.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                while letters.next().is_some_and(|next| next != '\'') {}
                out.push('?');
            }
            '$' | '0'..='9' | '?' => {
                while letters.next_if(|next| next.is_ascii_digit() || *next == '.').is_some() {}
                out.push('?');
            }
            _ => out.push(letter.to_ascii_lowercase()),
        }
    }
    out.trim_end_matches(';').split_whitespace().collect::<Vec<_>>().join(" ")
}
