//! Servers and clients of TLS: scripts, a certificate, and programs that are started on a node.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::request_node::RequestNode;

/// Serves `/item/N` on a port; arguments: port, certificate, key.
pub(crate) const SERVER_IN_PYTHON: &str = r#"
import http.server, ssl, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(30)
        body = b"item of " + self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"#;

/// The same in Node, which contains its library.
pub(crate) const SERVER_IN_NODE: &str = r#"
const https = require("https"), fs = require("fs");
const [port, cert, key] = process.argv.slice(-3);
https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, (request, response) => {
  response.end("item of " + request.url);
}).listen(Number(port), "127.0.0.1");
"#;

const CLIENT_IN_GO: &str = "package main\n\nimport (\n\t\"crypto/tls\"\n\t\"time\"\n)\n\n\
    func main() {\n\tc, err := tls.Dial(\"tcp\", \"127.0.0.1:1\", nil)\n\tif err == nil {\n\t\tc.Write(nil)\n\t}\n\t\
    time.Sleep(time.Minute)\n}\n";

/// A process that is killed with the test.
pub(crate) struct Started(pub(crate) Child);

impl Started {
    pub(crate) fn kill(&mut self) {
        // Fails if it has ended.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        for _ in 0..600 {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("a process did not end");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder with a certificate and scripts.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("trilobite-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let request = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=reef -keyout key.pem -out cert.pem";
        let mut openssl = Command::new("openssl");
        openssl.args(request.split(' ')).current_dir(&folder).stderr(Stdio::null());
        assert!(openssl.status().unwrap().success());
        Self(folder)
    }

    /// Starts a server, and waits until it listens.
    pub(crate) async fn serve(&self, node: &RequestNode, program: &str, script: &str, port: u16) -> Started {
        let path = |name: &str| self.0.join(name).to_str().unwrap().to_owned();
        fs::write(self.0.join("server"), script).unwrap();
        let arguments = [path("server"), port.to_string(), path("cert.pem"), path("key.pem")];
        let started = Started(node.start(program, &arguments.each_ref().map(String::as_str)));
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return started;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{program} does not listen");
    }

    /// A stripped Go program with crypto/tls; none without Go.
    pub(crate) fn go_client_of_tls(&self) -> Option<PathBuf> {
        fs::write(self.0.join("main.go"), CLIENT_IN_GO).unwrap();
        let mut go = Command::new("go");
        go.args(["build", "-ldflags", "-s -w", "-o", "program", "main.go"]).current_dir(&self.0);
        go.env("CGO_ENABLED", "0").status().is_ok_and(|status| status.success()).then(|| self.0.join("program"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The machine removes it otherwise.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok()
}
