//! `trilobite-node record` in this machine's kernel, and `replay` of what it wrote, by an account without privilege. Needs root, python3
//! and curl: `cargo build -p trilobite-worker && cargo test -p trilobite-node --test record -- --ignored`.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

/// Is in nothing that a row shows.
const SECRET: &str = "anglerfish";
/// Answers each request with its cookie and its body.
const SERVER: &str = r"
import http.server, sys
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(200)
        self.send_header('Set-Cookie', self.headers['Cookie'])
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Echo).serve_forever()
";
/// The account `nobody`.
const NOBODY: u32 = 65_534;

/// A process that is killed when it is dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn worker() -> PathBuf {
    let beside = || std::env::current_exe().unwrap().parent().unwrap().with_file_name("trilobite-worker");
    std::env::var_os("TRILOBITE_WORKER").map_or_else(beside, PathBuf::from)
}

fn agent(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trilobite-node"));
    command.args(words).env("TRILOBITE_WORKER", worker());
    command
}

fn profile(port: u16) -> String {
    format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {{name: slow, namespace: shop}}\nspec:\n  \
         podSelector: {{}}\n  durationSeconds: 60\n  requests: {{protocols: [http], ports: [{port}]}}\n"
    )
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn ask(port: u16, number: usize) -> bool {
    let url = format!("http://127.0.0.1:{port}/item/{number}?token={SECRET}");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "-o", "/dev/null", "-H", &format!("Authorization: Bearer {SECRET}")]);
    curl.args(["-H", &format!("Cookie: id={SECRET}"), "-d", SECRET, &url]).status().unwrap().success()
}

/// Records while curl asks for so many items. Returns what the recorder said.
fn record(folder: &Path, port: u16, words: &[&str], items: usize) -> String {
    let (yaml, file) = (folder.join("profile.yaml"), folder.join("recording"));
    fs::write(&yaml, profile(port)).unwrap();
    let mut command = agent(&["record", "-f", yaml.to_str().unwrap(), "-o", file.to_str().unwrap()]);
    let mut recorder = Started(command.args(words).stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(recorder.0.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("recording") {
        assert!(said.read_line(&mut text).unwrap() > 0, "{text}");
    }
    for number in 0..items {
        assert!(ask(port, number), "item {number}");
    }
    said.read_line(&mut text).unwrap();
    std::io::Read::read_to_string(&mut said, &mut text).unwrap();
    assert!(recorder.0.wait().unwrap().success(), "{text}");
    text
}

/// Plays a recording as an account without any right.
fn replay(file: &Path) -> Output {
    agent(&["replay", file.to_str().unwrap(), "-o", "json"]).uid(NOBODY).gid(NOBODY).output().unwrap()
}

fn server(port: u16) -> Started {
    let server = Started(Command::new("python3").args(["-c", SERVER, &port.to_string()]).spawn().unwrap());
    for _ in 0..100 {
        if ask(port, 0) {
            return server;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the server does not answer");
}

#[test]
#[ignore = "needs root"]
fn recording_is_played_without_privilege_and_has_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = server(port);
    let said = record(folder.path(), port, &["--for", "6s"], 20);
    let file = folder.path().join("recording");
    let bytes = fs::read(&file).unwrap();
    assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{said}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    // The file is root's.
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(!replay(&file).status.success());
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let played = replay(&file);
    let (rows, said) = (String::from_utf8(played.stdout).unwrap(), String::from_utf8(played.stderr).unwrap());
    assert!(played.status.success() && said.contains("the recording has "), "{said}");
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for role in ["client", "server"] {
        let mut paths: Vec<&str> =
            rows.iter().filter(|row| row["role"] == role).map(|row| row["target"].as_str().unwrap()).collect();
        paths.sort_unstable();
        let mut expected: Vec<String> = (0..20).map(|number| format!("/item/{number}?token=<redacted>")).collect();
        expected.sort_unstable();
        assert_eq!(paths, expected, "{said}");
    }
    assert!(rows.iter().all(|row| row["status"] == "200" && row["profile"] == "shop/slow"));
}

#[test]
#[ignore = "needs root"]
fn small_recording_says_what_did_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = server(port);
    record(folder.path(), port, &["--for", "8s", "--max-size", "64Ki"], 120);
    let file = folder.path().join("recording");
    assert!(fs::metadata(&file).unwrap().len() <= 64 << 10);
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let said = String::from_utf8(replay(&file).stderr).unwrap();
    assert!(said.contains("the recording is full"), "{said}");
}
