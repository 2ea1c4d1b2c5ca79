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

/// The same in Java, whose TLS is Java. Arguments: port, key store.
#[allow(dead_code, reason = "not in every test that has this module")]
pub(crate) const SERVER_IN_JAVA: &str = r#"
import com.sun.net.httpserver.*;
import java.io.*;
import java.net.InetSocketAddress;
import java.security.KeyStore;
import javax.net.ssl.*;
public class Server {
  public static void main(String[] arguments) throws Exception {
    char[] password = "anglerfish".toCharArray();
    KeyStore store = KeyStore.getInstance(new File(arguments[1]), password);
    KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
    keys.init(store, password);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(keys.getKeyManagers(), null, null);
    HttpsServer server = HttpsServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 0);
    server.setHttpsConfigurator(new HttpsConfigurator(context));
    server.createContext("/", exchange -> {
      exchange.sendResponseHeaders(200, 2);
      exchange.getResponseBody().write("ok".getBytes());
      exchange.close();
    });
    server.start();
  }
}
"#;

/// Sends a request, two in one write, and 400 in one write, each time after the answers have come. Argument: port.
pub(crate) const PIPELINING_CLIENT: &str = r#"
import socket, ssl, sys, time
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
connection = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
for numbers in range(1), range(1, 3), range(3, 403):
    connection.sendall(b"".join(b"GET /item/%d HTTP/1.1\r\nHost: reef\r\n\r\n" % number for number in numbers))
    answers = b""
    while answers.count(b"\r\n\r\nitem of /item/") < len(numbers) or not answers.endswith(b"/%d" % numbers[-1]):
        answers += connection.recv(65536)
    # Until the agent has written what is wanted of this connection.
    time.sleep(0.5)
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

/// Waits until something listens on a port of this machine.
pub(crate) async fn wait_until_it_listens(port: u16) {
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing listens on {port}");
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
        self.serve_by(|program, arguments| node.start(program, arguments), program, script, port).await
    }

    /// The same, started by a function of the test.
    pub(crate) async fn serve_by(
        &self,
        start: impl FnOnce(&str, &[&str]) -> Child,
        program: &str,
        script: &str,
        port: u16,
    ) -> Started {
        let path = |name: &str| self.0.join(name).to_str().unwrap().to_owned();
        fs::write(self.0.join("server"), script).unwrap();
        let arguments = [path("server"), port.to_string(), path("cert.pem"), path("key.pem")];
        let started = Started(start(program, &arguments.each_ref().map(String::as_str)));
        wait_until_it_listens(port).await;
        started
    }

    /// Starts a Java program from its source, with a key store.
    #[allow(dead_code, reason = "not in every test that has this module")]
    pub(crate) async fn serve_in_java(&self, node: &RequestNode, source: &str, port: u16) -> Started {
        let path = |name: &str| self.0.join(name).to_str().unwrap().to_owned();
        let (program, store) = (path("Server.java"), path("store"));
        fs::write(&program, source).unwrap();
        let words = "-genkeypair -alias reef -keyalg RSA -dname CN=reef -storepass anglerfish -keystore";
        let mut keytool = Command::new("keytool");
        keytool.args(words.split(' ')).arg(&store).stderr(Stdio::null());
        assert!(keytool.status().unwrap().success());
        let started = Started(node.start("java", &[&program, &port.to_string(), &store]));
        wait_until_it_listens(port).await;
        started
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
