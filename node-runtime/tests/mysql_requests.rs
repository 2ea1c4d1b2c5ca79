//! Requests of MySQL in this machine's kernel, against the general log of a real MariaDB: its own client, PyMySQL, and Perl's
//! driver, which prepares statements in the server. Needs root, mariadb-server-core, mariadb-client-core, python3-pymysql,
//! libdbd-mariadb-perl and the worker's binary:
//! `cargo build -p trilobite-worker && cargo test -p trilobite-node --test mysql_requests -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[allow(dead_code, reason = "other tests use more of it")]
mod request_node;

use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use request_node::{RequestNode, exists, free_port, requests_on};
use trilobite_crds::{app_profile::RequestProtocol, node::RequestsSession};
use trilobite_worker_wire::RequestRow;

/// Statements, errors and everything else that the driver has. Argument: port.
const PYMYSQL: &str = r#"
import pymysql, sys, time
from pymysql.constants import CLIENT
port = int(sys.argv[1])
def connect(**more):
    return pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True, **more)
connection = connect()
cursor = connection.cursor()
cursor.execute("create database if not exists shop")
connection.select_db("shop")
cursor.execute("create table items (id int primary key, name text)")
connection.close()
for turn in range(10):
    connection = connect(database="shop", client_flag=CLIENT.MULTI_STATEMENTS, local_infile=True)
    cursor = connection.cursor()
    cursor.execute("select count(*) from items")
    # Until the agent has written what is wanted of this connection.
    time.sleep(0.5)
    for number in range(30):
        key = turn * 100 + number
        cursor.execute("insert into items values (%s, %s) /* secret */", (key, "it's a \"secret\" \\ %d" % key))
        try: cursor.execute("insert into items values (%s, 'secret-again')", (key,))
        except pymysql.err.IntegrityError: pass
        cursor.execute("select id, name from items where id >= %s", (key - 5,))
        cursor.fetchall()
    connection.ping(reconnect=False)
    cursor.execute("select name from items; update items set id = id; select id from items")
    while cursor.nextset(): pass
    try: cursor.execute("select nothing from items")
    except pymysql.err.OperationalError: pass
    # Above the server's buffer, in many packets and calls.
    cursor.execute("select repeat(name, 50) from items")
    cursor.fetchall()
    connection.close()
try: connect(password="secret")
except pymysql.err.OperationalError: pass
"#;

/// Debian's, which has Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

const PING: &str = "Ping";
const PINGS: usize = 10;

/// Statements that the server prepares. Arguments: port, a file that says that the first one was executed, and one for which
/// the others wait; none: there is no waiting.
const PERL: &str = r#"
use DBI;
my ($port, $ready, $go) = @ARGV;
my $db = DBI->connect("DBI:MariaDB:database=shop;host=127.0.0.1;port=$port", "root", "",
    {RaiseError => 0, PrintError => 0, mariadb_server_prepare => 1});
my $find = $db->prepare("select name from items where id = ?");
$find->execute(1);
$find->fetchall_arrayref;
if ($ready) { open(my $file, ">", $ready); close($file); select(undef, undef, undef, 0.05) until -e $go; }
for my $number (0 .. 49) {
    $find->execute($number);
    $find->fetchall_arrayref;
    my $insert = $db->prepare("insert into items values (?, ?)");
    $insert->execute(5000 + int($number / 2), "secret-$number");
    $insert->finish;
}
$db->disconnect;
"#;

/// A MariaDB that logs every command.
struct Server {
    process: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    async fn start(node: &RequestNode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = format!("--datadir={}", folder.path().join("data").display());
        let mut install = Command::new("mariadb-install-db");
        install.args([
            "--no-defaults",
            "--user=root",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
            &data,
        ]);
        let installed = install.stdout(Stdio::null()).status();
        assert!(installed.is_ok_and(|status| status.success()), "mariadb-install-db (mariadb-server-core) is missing");
        let (port, path) = (free_port(), |name: &str| folder.path().join(name).display().to_string());
        let process = node.start(
            "mariadbd",
            &[
                "--no-defaults",
                "--user=root",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                "--local-infile",
                "--general-log",
                &format!("--general-log-file={}", path("general.log")),
                &format!("--socket={}", path("socket")),
                &format!("--port={port}"),
                &data,
            ],
        );
        let server = Self { process, folder, port };
        for _ in 0..1200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("MariaDB did not start");
    }

    /// What was logged, once every connection has ended there: the server may log the end after its client is gone.
    async fn logged_until_the_end(&self) -> Vec<Vec<Logged>> {
        for _ in 0..400 {
            let connections = logged(&self.log());
            let has_ended = |connection: &Vec<Logged>| {
                connection.last().is_some_and(|(command, _)| matches!(command.as_str(), "Quit" | "Connect"))
            };
            if connections.iter().all(has_ended) {
                return connections;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("a connection has not ended in the log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("general.log")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

/// A command and its statement, without literals.
type Logged = (String, String);

/// Commands of each connection, as the server logged them. Logins are no rows, unless they failed.
fn logged(log: &str) -> Vec<Vec<Logged>> {
    let mut connections: BTreeMap<u64, Vec<Logged>> = BTreeMap::new();
    for line in log.lines() {
        let mut fields = line.split('\t').skip_while(|field| !field.starts_with(' '));
        let (Some(head), argument) = (fields.next(), fields.collect::<Vec<_>>().join("\t")) else { continue };
        let Some((id, command)) = head.trim_start().split_once(' ') else { continue };
        let Ok(id) = id.parse() else { continue };
        let entry = match command {
            "Connect" if argument.starts_with("Access denied") => ("Connect".to_owned(), String::new()),
            "Connect" => continue,
            command => (command.to_owned(), plain(&argument)),
        };
        connections.entry(id).or_default().push(entry);
    }
    sorted(connections.into_values().collect())
}

/// What such a statement was is not logged.
fn is_logged_without_text(command: &str) -> bool {
    matches!(command, "Close stmt" | "Reset stmt")
}

/// The same of the rows of one role. Pings are not logged.
fn seen(rows: &[RequestRow], client: bool) -> Vec<Vec<Logged>> {
    let mut connections: BTreeMap<u64, Vec<Logged>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.client == client && row.operation != PING) {
        let text = if is_logged_without_text(&row.operation) { String::new() } else { plain(&row.target) };
        connections.entry(row.connection).or_default().push((row.operation.clone(), text));
    }
    sorted(connections.into_values().collect())
}

fn sorted(mut connections: Vec<Vec<Logged>>) -> Vec<Vec<Logged>> {
    connections.retain(|connection| !connection.is_empty());
    connections.sort();
    connections
}

/// A statement with one word for each literal and parameter, without comments, and with single spaces.
fn plain(statement: &str) -> String {
    let mut out = String::new();
    let mut letters = statement.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                while let Some(next) = letters.next() {
                    match next {
                        '\\' => drop(letters.next()),
                        '\'' if letters.peek() == Some(&'\'') => drop(letters.next()),
                        '\'' => break,
                        _ => {}
                    }
                }
                out.push('?');
            }
            '/' if letters.peek() == Some(&'*') => while letters.next().is_some_and(|next| next != '/') {},
            '0'..='9' => {
                while letters.next_if(|next| next.is_ascii_digit() || *next == '.').is_some() {}
                out.push('?');
            }
            _ => out.push(letter),
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn wait_for(mut client: Child) {
    for _ in 0..1200 {
        if let Some(status) = client.try_wait().unwrap() {
            return assert!(status.success(), "a client failed");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a client did not end");
}

fn mysql_on(port: u16) -> RequestsSession {
    RequestsSession { protocols: vec![RequestProtocol::Mysql], ..requests_on(port) }
}

#[track_caller]
fn assert_same(role: &str, seen: &[Vec<Logged>], logged: &[Vec<Logged>]) {
    for (seen, logged) in seen.iter().zip(logged) {
        for (index, (seen, logged)) in seen.iter().zip(logged).enumerate() {
            assert_eq!(seen, logged, "{role}, command {index} of a connection");
        }
        assert_eq!(seen.len(), logged.len(), "{role}: {seen:?} {logged:?}");
    }
    assert_eq!(seen.len(), logged.len(), "connections of the {role}");
}

#[tokio::test]
#[ignore = "needs root and MariaDB"]
async fn rows_are_the_general_log_of_mariadb() {
    let mut node = RequestNode::new("mysql");
    let server = Server::start(&node).await;
    let port = server.port.to_string();
    let key = node.request_with("cart", mysql_on(server.port), 32 << 20);
    node.apply().await;
    wait_for(node.start(PYTHON, &["-c", PYMYSQL, &port])).await;
    wait_for(node.start("perl", &["-e", PERL, &port])).await;
    let statements = "use shop; select id from items where name = 'secret'; select 1 from nowhere; \
                      select id into outfile '/nowhere/secret' from items; show tables; nonsense";
    let client = "mariadb --no-defaults --protocol=TCP --host=127.0.0.1 --user=root --force";
    let mut client = node.start("sh", &["-c", &format!("echo \"{statements}\" | {client} --port={port}")]);
    // The last statement that failed makes its status.
    client.wait().unwrap();

    let logged = server.logged_until_the_end().await;
    let commands: usize = logged.iter().map(Vec::len).sum();
    assert!(commands > 1000, "{commands} are logged");
    let rows = node.rows("shop/cart", 2 * (commands + PINGS)).await;
    for (role, client) in [("server", false), ("client", true)] {
        assert_same(role, &seen(&rows, client), &logged);
        let mut failed: BTreeMap<&str, usize> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.client == client && row.is_error) {
            *failed.entry(&row.status).or_default() += 1;
        }
        let expected = [("1045", 1), ("1054", 10), ("1062", 300 + 25), ("1064", 1), ("1146", 1), ("1290", 1)];
        assert_eq!(failed, expected.into(), "errors of the {role}");
    }
    assert!(!format!("{rows:?}").contains("secret"), "literals are in rows");
    node.wait_until("the counts have come", |node| {
        node.state(&key).rows.iter().any(|it| it.rows as usize == 2 * (commands + PINGS))
    })
    .await;
    let state = node.state(&key);
    assert_eq!((state.gaps, state.lost_ring, state.lost_parse), (0, 0, 0), "{state:?}");
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root and MariaDB"]
async fn connection_of_before_is_joined_and_its_statements_have_ids() {
    let mut node = RequestNode::new("mysql-joined");
    let server = Server::start(&node).await;
    let port = server.port.to_string();
    wait_for(node.start(PYTHON, &["-c", PYMYSQL, &port])).await;
    let path = |name: &str| server.folder.path().join(name).display().to_string();
    let (ready, go) = (path("ready"), path("go"));
    let client = node.start("perl", &["-e", PERL, &port, &ready, &go]);
    for _ in 0..600 {
        if exists(&ready) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = logged(&server.log());
    node.request_with("cart", mysql_on(server.port), 32 << 20);
    node.apply().await;
    fs::write(Path::new(&go), "").unwrap();
    wait_for(client).await;

    let after = server.logged_until_the_end().await;
    let new: Vec<&Logged> = after
        .iter()
        .filter(|connection| !before.contains(connection))
        .flat_map(|connection| connection.iter().skip_while(|(command, _)| command != "Execute").skip(1))
        .collect();
    assert!(new.len() >= 4 * 50, "{new:?}");
    let rows = node.rows("shop/cart", 2 * new.len()).await;
    for client in [false, true] {
        let rows: Vec<&RequestRow> = rows.iter().filter(|row| row.client == client).collect();
        assert!(rows.iter().all(|row| row.mid_stream));
        assert_eq!(rows.len(), new.len());
        for (row, (command, text)) in rows.iter().zip(&new) {
            assert_eq!(&row.operation, command);
            match command.as_str() {
                "Execute" if text.starts_with("select") => assert_eq!(row.target, "<unknown statement 1>"),
                command if is_logged_without_text(command) => {}
                _ => assert_eq!(&plain(&row.target), text),
            }
        }
    }
    node.withdraw().await;
}
