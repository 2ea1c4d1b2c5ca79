//! An API server with a few objects: lists, gets, creates and deletes them, says what the user may do, and joins an exec in
//! an agent's pod to the socket of that agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
    },
};

use crate::{
    fake_agent::{Answers, router},
    run::{self, Outcome, trilobite, write_kubeconfig},
};

pub(crate) const NAMESPACE: &str = "trilobite-system";

#[derive(Default)]
struct Objects {
    /// By plural, in the order of their creation.
    kinds: BTreeMap<String, Vec<Value>>,
    /// `list pods`, `create pods/exec`...
    denied: BTreeSet<String>,
    /// Plurals that the server does not know.
    unknown: BTreeSet<String>,
    /// Method and path of each request.
    requests: Vec<String>,
    /// Path and query of each request.
    targets: Vec<String>,
    /// Answers by their paths, e.g. of the read API.
    answers: BTreeMap<String, (u16, String)>,
    /// Every request is answered with 401.
    unauthorized: bool,
    /// Socket of the agent in each pod.
    sockets: BTreeMap<String, PathBuf>,
}

/// A cluster with agents; ends with the process.
pub(crate) struct TestCluster {
    pub(crate) server: String,
    pub(crate) folder: TempDir,
    objects: Arc<Mutex<Objects>>,
    /// What the agents answer and were asked, by node.
    pub(crate) agents: BTreeMap<&'static str, Arc<Mutex<Answers>>>,
}

impl TestCluster {
    /// A running operator, and an agent on each of these nodes, whose NodeRuntime is Ready. No stack.
    pub(crate) fn new(nodes: &[&'static str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = Arc::new(Mutex::new(Objects::default()));
        let agents: BTreeMap<_, _> =
            nodes.iter().map(|node| (*node, Arc::new(Mutex::new(Answers::default())))).collect();
        let sockets: Vec<_> = agents
            .iter()
            .map(|(node, answers)| {
                let path = folder.path().join(format!("{node}.sock"));
                objects.lock().sockets.insert(format!("trilobite-node-{node}"), path.clone());
                (path, Arc::clone(answers))
            })
            .collect();
        let (sender, port) = channel();
        let shared = Arc::clone(&objects);
        thread::spawn(move || serve(shared, sockets, &sender));
        let port = port.recv_timeout(Duration::from_secs(10)).expect("the server starts");
        let cluster = Self { server: format!("http://127.0.0.1:{port}"), folder, objects, agents };
        cluster.operator(1, 1);
        for node in nodes {
            cluster.add(
                "pods",
                agent_pod(node, json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})),
            );
            cluster.add("noderuntimes", node_runtime(node));
        }
        write_kubeconfig(&cluster.folder.path().join("config"), "reef", &cluster.server, "{token: t}");
        cluster
    }

    /// The operator's Deployment with so many replicas asked for and available.
    pub(crate) fn operator(&self, replicas: i32, available: i32) {
        self.replace(
            "deployments",
            json!({
                "metadata": {"name": "trilobite-operator", "namespace": NAMESPACE, "labels": {
                    "app.kubernetes.io/name": "trilobite-operator", "app.kubernetes.io/version": "1.2.3"}},
                "spec": {"replicas": replicas, "selector": {}, "template": {"spec": {"containers": [
                    {"name": "operator", "image": "reg.example/operator:7"}]}}},
                "status": {"availableReplicas": available},
            }),
        );
    }

    /// A stack that was Ready on all nodes at that time.
    pub(crate) fn ready_stack(&self, nodes: usize, observed_at: &str) {
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": "as reported",
                   "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        self.replace(
            "observabilitystacks",
            json!({
                "metadata": {"name": "default", "generation": 1},
                "spec": {},
                "status": {
                    "conditions": [condition("Ready", "True", "Ready"), condition("Accepted", "True", "Valid"),
                                   condition("Degraded", "False", "AsExpected")],
                    "readyNodes": format!("{nodes}/{nodes}"),
                    "observedAt": observed_at,
                },
            }),
        );
    }

    pub(crate) fn add(&self, plural: &str, object: Value) {
        self.objects.lock().kinds.entry(plural.into()).or_default().push(object);
    }

    /// In place of the object of the same name.
    pub(crate) fn replace(&self, plural: &str, object: Value) {
        let mut objects = self.objects.lock();
        let all = objects.kinds.entry(plural.into()).or_default();
        all.retain(|one| one["metadata"]["name"] != object["metadata"]["name"]);
        all.push(object);
    }

    pub(crate) fn remove_all(&self, plural: &str) {
        self.objects.lock().kinds.remove(plural);
    }

    pub(crate) fn count(&self, plural: &str) -> usize {
        self.objects.lock().kinds.get(plural).map_or(0, Vec::len)
    }

    /// Refuses `list pods`, `create pods/exec`...
    pub(crate) fn deny(&self, right: &str) {
        self.objects.lock().denied.insert(right.into());
    }

    /// Forgets a kind, as without its CustomResourceDefinition.
    pub(crate) fn forget(&self, plural: &str) {
        self.objects.lock().unknown.insert(plural.into());
    }

    pub(crate) fn reject_credentials(&self) {
        self.objects.lock().unauthorized = true;
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.objects.lock().requests.clone()
    }

    /// Path and query of each request.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.objects.lock().targets.clone()
    }

    /// Answers requests of this path with this text.
    pub(crate) fn answer(&self, path: &str, code: u16, text: impl Into<String>) {
        self.objects.lock().answers.insert(path.into(), (code, text.into()));
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = trilobite(words);
        command.env("KUBECONFIG", self.folder.path().join("config")).current_dir(self.folder.path());
        command
    }

    pub(crate) fn execute(&self, words: &[&str]) -> Outcome {
        run::finish(&mut self.command(words))
    }
}

/// The agent's pod on a node.
pub(crate) fn agent_pod(node: &str, status: Value) -> Value {
    json!({
        "metadata": {"name": format!("trilobite-node-{node}"), "namespace": NAMESPACE,
                     "labels": {"app.kubernetes.io/name": "trilobite-node"}},
        "spec": {"nodeName": node, "containers": [{"name": "agent", "command": ["/trilobite-node"]}]},
        "status": status,
    })
}

/// A NodeRuntime that is Ready.
pub(crate) fn node_runtime(node: &str) -> Value {
    json!({
        "metadata": {"name": node},
        "spec": {},
        "status": {"agentVersion": "1.2.3", "conditions": [{"type": "Ready", "status": "True", "reason": "Ready",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    })
}

fn serve(objects: Arc<Mutex<Objects>>, sockets: Vec<(PathBuf, Arc<Mutex<Answers>>)>, port: &Sender<u16>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        for (path, answers) in sockets {
            let listener = UnixListener::bind(path).expect("a socket");
            tokio::spawn(router(answers).serve_with_incoming(UnixListenerStream::new(listener)));
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        port.send(listener.local_addr().expect("an address").port()).expect("the test waits");
        while let Ok((stream, _)) = listener.accept().await {
            let objects = Arc::clone(&objects);
            tokio::spawn(async move {
                let _ = answer(stream, &objects).await;
            });
        }
    });
}

/// One request a connection: an exec takes the connection over.
async fn answer(mut stream: TcpStream, objects: &Mutex<Objects>) -> std::io::Result<()> {
    let head = peek_head(&stream).await?;
    let mut first = head.split_whitespace();
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    objects.lock().requests.push(format!("{method} {path}"));
    objects.lock().targets.push(target.to_owned());
    if let Some(pod) = path.strip_suffix("/exec").and_then(|path| path.rsplit('/').next()) {
        let socket = objects.lock().sockets.get(pod).cloned();
        if let Some(socket) = socket {
            return join_exec(stream, UnixStream::connect(socket).await?).await;
        }
    }
    stream.read_exact(&mut vec![0; head.len()]).await?;
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (status, text) = objects.lock().respond(method, path, query, body);
    let response = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

async fn peek_head(stream: &TcpStream) -> std::io::Result<String> {
    let mut bytes = vec![0; 32 << 10];
    loop {
        let count = stream.peek(&mut bytes).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = bytes[..count].windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(String::from_utf8_lossy(&bytes[..end + 4]).into_owned());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What `trilobite-node proxy` does in the pod, by the channels of `v4.channel.k8s.io`.
async fn join_exec(stream: TcpStream, agent: UnixStream) -> std::io::Result<()> {
    #[allow(clippy::result_large_err, reason = "the type of the callback")]
    let choose = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", "v4.channel.k8s.io".parse().expect("a header"));
        Ok(response)
    };
    let exec = accept_hdr_async(stream, choose).await.map_err(std::io::Error::other)?;
    let (mut to_client, mut from_client) = exec.split();
    let (mut from_agent, mut to_agent) = agent.into_split();
    let stdin = async {
        while let Some(Ok(message)) = from_client.next().await {
            match message {
                Message::Binary(bytes) if bytes.first() == Some(&0) => to_agent.write_all(&bytes[1..]).await?,
                Message::Close(_) => break,
                _ => {}
            }
        }
        std::io::Result::Ok(())
    };
    let stdout = async {
        let mut bytes = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from_agent.read(&mut bytes).await {
            let framed = [&[1], &bytes[..count]].concat();
            if to_client.send(Message::binary(framed)).await.is_err() {
                break;
            }
        }
        std::io::Result::Ok(())
    };
    tokio::select! {
        ended = stdin => ended,
        ended = stdout => ended,
    }
}

impl Objects {
    fn respond(&mut self, method: &str, path: &str, query: &str, body: Value) -> (u16, String) {
        if self.unauthorized {
            return failure(401, "Unauthorized", "Unauthorized");
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let rest = if parts.first() == Some(&"api") { parts.get(2..) } else { parts.get(3..) };
        let (namespace, plural, name, sub) = match rest.unwrap_or_default() {
            ["namespaces", namespace, plural] => (*namespace, *plural, "", ""),
            ["namespaces", namespace, plural, name] => (*namespace, *plural, *name, ""),
            ["namespaces", namespace, plural, name, sub] => (*namespace, *plural, *name, *sub),
            [plural] => ("", *plural, "", ""),
            [plural, name] => ("", *plural, *name, ""),
            _ => return self.answers.get(path).cloned().unwrap_or_else(|| failure(404, "NotFound", "no such path")),
        };
        if plural == "selfsubjectaccessreviews" {
            return self.review(body);
        }
        if self.unknown.contains(plural) {
            return (404, "404 page not found\n".to_owned());
        }
        let verb = match (method, name) {
            ("GET", "") if query.contains("watch=true") => "watch",
            ("GET", "") => "list",
            ("GET", _) => "get",
            ("POST", _) => "create",
            ("DELETE", _) => "delete",
            _ => return failure(405, "MethodNotAllowed", "this server cannot do that"),
        };
        let resource = if sub.is_empty() { plural.to_owned() } else { format!("{plural}/{sub}") };
        if self.denied.contains(&format!("{verb} {resource}")) {
            let message = format!("{resource} is forbidden: User \"till\" cannot {verb} resource \"{resource}\"");
            return failure(403, "Forbidden", &message);
        }
        if let Some(answer) = self.answers.get(path) {
            return answer.clone();
        }
        let all = self.kinds.entry(plural.to_owned()).or_default();
        let in_namespace = |one: &Value| namespace.is_empty() || one["metadata"]["namespace"] == namespace;
        let named = |one: &Value| in_namespace(one) && one["metadata"]["name"] == name;
        match verb {
            "list" => {
                let items: Vec<&Value> = all.iter().filter(|one| in_namespace(one) && selected(one, query)).collect();
                (200, json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}).to_string())
            }
            "create" => {
                all.push(sampled_at_once(body.clone()));
                (201, body.to_string())
            }
            "delete" => {
                all.retain(|one| !named(one));
                (200, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}).to_string())
            }
            _ => match all.iter().find(|one| named(one)) {
                Some(one) => (200, one.to_string()),
                None => failure(404, "NotFound", &format!("{plural} \"{name}\" not found")),
            },
        }
    }

    fn review(&self, mut body: Value) -> (u16, String) {
        let attributes = &body["spec"]["resourceAttributes"];
        let text = |field: &str| attributes[field].as_str().unwrap_or_default().to_owned();
        let resource = match text("subresource").as_str() {
            "" => text("resource"),
            sub => format!("{}/{sub}", text("resource")),
        };
        let allowed = !self.denied.contains(&format!("{} {resource}", text("verb")));
        body["status"] = json!({"allowed": allowed});
        (201, body.to_string())
    }
}

/// By the label of the operator and the agents, which is the only one that is asked for.
fn selected(object: &Value, query: &str) -> bool {
    let name = object["metadata"]["labels"]["app.kubernetes.io/name"].as_str().unwrap_or_default();
    !query.contains("labelSelector=") || query.contains("trilobite") && !name.is_empty() && query.contains(name)
}

/// An operator and agents that need no time: the AppProfile is complete when it is created.
fn sampled_at_once(mut object: Value) -> Value {
    if object["kind"] == "AppProfile" {
        object["status"] = completed();
    }
    object
}

/// The status of an AppProfile that has ended now, with the result of one node.
pub(crate) fn completed() -> Value {
    let now = jiff::Timestamp::now().to_string();
    json!({
        "conditions": [{"type": "Completed", "status": "True", "reason": "DurationElapsed", "message": "",
                        "lastTransitionTime": now}],
        "results": {"nodes": 1, "samples": 42, "lost": 0},
        "observedGeneration": 1,
    })
}

fn failure(code: u16, reason: &str, message: &str) -> (u16, String) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                        "reason": reason, "code": code});
    (code, status.to_string())
}
