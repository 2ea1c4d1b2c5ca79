//! `TestCluster`: a control plane with the CRDs, nodes with fake agents, and an operator in this process.

use std::{
    fmt::Debug,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use kube::{
    Api, Client, Config, Resource, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
    core::PartialObjectMeta,
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use trilobite_cluster::{ControlPlane, workspace_root};
use trilobite_crds::ObservabilityStack;
use trilobite_operator::{args::Arguments, operator::run_operator, telemetry::start_logging};

use crate::fake_agent::{Behaviour, FakeAgent};

pub(crate) const NAMESPACE: &str = "trilobite-system";
const GROUP: &str = "/apis/trilobite.dev/v1alpha1";

/// One control plane for all tests, and one test at a time: the tests run on two cores.
static CONTROL_PLANE: Mutex<Option<ControlPlane>> = Mutex::new(None);

pub(crate) struct TestCluster<'a> {
    /// Acts as the administrator.
    pub(crate) client: Client,
    /// Acts as the operator's ServiceAccount, with the permissions of the chart.
    operator_client: Client,
    control_plane: &'a ControlPlane,
    operator: Option<(CancellationToken, JoinHandle<()>)>,
    /// Of the operator's /readyz.
    port: u16,
    agents: Vec<FakeAgent>,
}

/// Runs one test in a cluster without objects of earlier tests.
pub(crate) fn with_test_cluster(test: impl AsyncFnOnce(TestCluster<'_>)) {
    let mut control_plane = CONTROL_PLANE.lock();
    let control_plane = control_plane.get_or_insert_with(|| {
        let control_plane = ControlPlane::start().unwrap();
        install(&control_plane);
        control_plane
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = TestCluster::new(control_plane).await;
        tokio::time::timeout(Duration::from_secs(120), test(cluster)).await.unwrap();
    });
}

/// Installs what `make demo` installs. Tests do not change it, so it is installed once.
fn install(control_plane: &ControlPlane) {
    let directory = workspace_root().join("config/default");
    // Forced: a test may have edited what is installed.
    kubectl(control_plane, &["apply", "--server-side", "--force-conflicts", "-k", directory.to_str().unwrap()]);
    // The operator runs in this process.
    kubectl(control_plane, &["-n", NAMESPACE, "delete", "deployment", "trilobite-operator", "--wait=false"]);
    kubectl(control_plane, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=20s"]);
}

fn kubectl(control_plane: &ControlPlane, words: &[&str]) -> String {
    let done = control_plane.kubectl().args(words).output().unwrap();
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

impl<'a> TestCluster<'a> {
    async fn new(control_plane: &'a ControlPlane) -> Self {
        let kubeconfig = Kubeconfig::read_from(control_plane.kubeconfig()).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config.clone()).unwrap();
        config.auth_info.impersonate = Some(format!("system:serviceaccount:{NAMESPACE}:trilobite-operator"));
        config.auth_info.impersonate_groups =
            Some(vec!["system:serviceaccounts".into(), "system:authenticated".into()]);
        let operator_client = Client::try_from(config).unwrap();
        let cluster = Self { client, operator_client, control_plane, operator: None, port: 0, agents: Vec::new() };
        cluster.clean().await;
        cluster
    }

    /// Deletes the objects of earlier tests.
    async fn clean(&self) {
        // The operator of the earlier test is gone, so the finalizer is removed here.
        let no_finalizers = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        let stacks: Api<PartialObjectMeta<ObservabilityStack>> = Api::all(self.client.clone());
        let _ = stacks.patch_metadata("default", &PatchParams::default(), &no_finalizers).await;
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let namespaces = namespaces.list_metadata(&ListParams::default()).await.unwrap().items;
        let namespaces: Vec<String> = namespaces.iter().map(|namespace| namespace.name_any()).collect();
        let ours = ["observabilitystacks", "tracingpolicies", "noderuntimes", "nodeprofiles", "profileparts"];
        let namespaced = ["appprofiles", "flowcaptures", "tracingpoliciesnamespaced"];
        let mut paths: Vec<String> = ours.iter().map(|plural| format!("{GROUP}/{plural}")).collect();
        for namespace in &namespaces {
            paths.extend(namespaced.iter().map(|plural| format!("{GROUP}/namespaces/{namespace}/{plural}")));
        }
        paths.push("/api/v1/nodes".into());
        paths.push(format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets"));
        paths.push(format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments"));
        paths.push("/apis/certificates.k8s.io/v1/certificatesigningrequests".into());
        paths.push(format!("/api/v1/namespaces/{NAMESPACE}/services"));
        self.delete_all(API_SERVICE).await;
        join_all(paths.iter().map(|path| self.delete_all(path))).await;
        join_all(namespaces.iter().map(|namespace| self.label(namespace, None))).await;
        // Pods last and repeatedly: a deleted DaemonSet's controller may create pods for a moment.
        let pods: Vec<String> =
            namespaces.iter().map(|namespace| format!("/api/v1/namespaces/{namespace}/pods")).collect();
        paths.extend(pods.iter().cloned());
        eventually("the cluster is empty", 30, async || {
            join_all(pods.iter().map(|path| self.delete_all(path))).await;
            let left = join_all(paths.iter().map(|path| self.is_empty(path))).await;
            let left: Vec<_> = paths.iter().zip(left).filter(|(_, empty)| !empty).map(|(path, _)| path).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }

    /// The response is not parsed, because objects may be nested too deeply. What does not exist is deleted already.
    async fn delete_all(&self, path: &str) {
        let request = http::Request::delete(format!("{path}?gracePeriodSeconds=0")).body(Vec::new()).unwrap();
        match self.client.request_text(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => _ = result.unwrap(),
        }
    }

    pub(crate) async fn delete(&self, path: &str) {
        self.delete_all(path).await;
    }

    /// A merge patch, or for `containers` and the like a strategic one, as another client sends it.
    pub(crate) async fn edit(&self, path: &str, patch: &Value) {
        let kind = if path.contains("/daemonsets/") { "strategic-merge-patch" } else { "merge-patch" };
        let request = http::Request::patch(format!("{path}?fieldManager=someone"))
            .header("content-type", format!("application/{kind}+json"))
            .body(serde_json::to_vec(patch).unwrap())
            .unwrap();
        self.client.request_text(request).await.unwrap();
    }

    async fn is_empty(&self, path: &str) -> bool {
        let request = http::Request::get(format!("{path}?limit=1")).body(Vec::new()).unwrap();
        self.client.request_text(request).await.unwrap().contains(r#""items":[]"#)
    }

    /// Starts an operator with a grace period that is short, but long enough for two busy cores.
    pub(crate) fn start_operator(&mut self) {
        self.start_operator_with_grace(10);
    }

    /// Starts an operator that withdraws an APIService after this time without an answer.
    pub(crate) fn start_operator_with_relay_grace(&mut self, seconds: u32) {
        self.start_operator_with(&["--agent-grace-seconds=10", &format!("--relay-grace-seconds={seconds}")]);
    }

    pub(crate) fn start_operator_with_grace(&mut self, agent_seconds: u32) {
        self.start_operator_with(&[&format!("--agent-grace-seconds={agent_seconds}")]);
    }

    fn start_operator_with(&mut self, flags: &[&str]) {
        // A port that is free now.
        self.port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("--listen=127.0.0.1:{}", self.port);
        let always = ["trilobite-operator", &listen, "--status-interval-seconds=1", "--node-grace-seconds=5"];
        let arguments = Arguments::parse_from(always.iter().chain(flags));
        start_logging(&arguments);
        let stop = CancellationToken::new();
        let work = run_operator(self.operator_client.clone(), arguments, stop.clone());
        let handle = tokio::spawn(async move { work.await.unwrap() });
        self.operator = Some((stop, handle));
    }

    /// The operator's answer at /readyz, with its headers.
    pub(crate) async fn readyz(&self) -> Result<String, String> {
        let ask = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        ask.await.map_err(|error| error.to_string())
    }

    /// Installs again what a test has deleted.
    pub(crate) fn install(&self) {
        install(self.control_plane);
    }

    /// `kubectl apply` of the CRDs.
    pub(crate) fn apply_crds(&self) {
        let directory = workspace_root().join("config/crd");
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-k", directory.to_str().unwrap()]);
    }

    /// Stops it as SIGTERM does.
    pub(crate) async fn stop_operator(&mut self) {
        let (stop, handle) = self.operator.take().unwrap();
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), handle).await.expect("it stops").unwrap();
    }

    /// Ends it as SIGKILL does.
    pub(crate) fn kill_operator(&mut self) {
        self.operator.take().unwrap().1.abort();
    }

    /// Creates a node with a fake agent.
    pub(crate) async fn node(&mut self, name: &str, behaviour: Behaviour) -> Arc<Mutex<Behaviour>> {
        self.create::<Node>(
            None,
            json!({"metadata": {"name": name, "labels": {"reef": name, "kubernetes.io/os": "linux"}}}),
        )
        .await;
        let agent = FakeAgent::start(self.client.clone(), name, behaviour);
        let behaviour = agent.behaviour.clone();
        self.agents.push(agent);
        behaviour
    }

    pub(crate) async fn pod(&self, namespace: &str, name: &str, node: &str, app: &str) {
        self.create::<Pod>(
            Some(namespace),
            json!({
                "metadata": {"name": name, "labels": {"app": app}},
                "spec": {"nodeName": node, "containers": [{"name": "x", "image": "localhost/x:1"}]},
            }),
        )
        .await;
    }

    pub(crate) async fn namespace(&self, name: &str) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        if namespaces.get_opt(name).await.unwrap().is_none() {
            self.create::<Namespace>(None, json!({"metadata": {"name": name}})).await;
        }
        // Pods are rejected until a controller has created it.
        eventually("the namespace has a service account", 10, async || {
            let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
            accounts.get("default").await.map(|_| ()).map_err(|error| error.to_string())
        })
        .await;
    }

    async fn create<K>(&self, namespace: Option<&str>, object: Value)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + serde::Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let url = K::url_path(&(), namespace);
        let request =
            kube::core::Request::new(url).create(&PostParams::default(), serde_json::to_vec(&object).unwrap()).unwrap();
        self.client.request::<Value>(request).await.unwrap();
    }

    /// `kubectl apply --server-side`.
    pub(crate) fn apply(&self, yaml: &str) {
        use std::io::Write as _;
        let mut kubectl = self.control_plane.kubectl();
        kubectl.args(["apply", "--server-side", "--field-manager=test", "--force-conflicts", "-f", "-"]);
        let mut child =
            kubectl.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// A client with this token.
    pub(crate) async fn with_token(&self, token: &str) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.control_plane.kubeconfig()).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.auth_info = AuthInfo { token: Some(token.trim().to_owned().into()), ..AuthInfo::default() };
        Client::try_from(config).unwrap()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.control_plane.kubeconfig().to_owned()
    }

    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        kubectl(self.control_plane, words)
    }

    /// The output, or what went wrong.
    pub(crate) fn try_kubectl(&self, words: &[&str]) -> Result<String, String> {
        let done = self.control_plane.kubectl().args(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if done.status.success() { Ok(text(done.stdout)) } else { Err(text(done.stderr)) }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, String> {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        self.client.request::<Value>(request).await.map_err(|error| error.to_string())
    }

    /// Waits until a condition has this status and reason; returns the object.
    pub(crate) async fn condition(&self, path: &str, kind: &str, status: &str, reason: &str) -> Value {
        eventually(&format!("{path} has {kind}={status} {reason}"), 30, async || {
            let object = self.get(path).await?;
            let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            match condition(&object, kind) {
                Some(found) if current && found["status"] == status && found["reason"] == reason => Ok(object.clone()),
                _ => Err(format!("{:#}", object["status"])),
            }
        })
        .await
    }

    pub(crate) async fn label(&self, namespace: &str, value: Option<&str>) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let patch = json!({"metadata": {"labels": {"trilobite.dev/app-profile": value}}});
        namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
}

pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

pub(crate) const STACK: &str = "/apis/trilobite.dev/v1alpha1/observabilitystacks/default";

pub(crate) const API_SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.read.trilobite.dev";

pub(crate) fn stack(spec: &str) -> String {
    format!("apiVersion: trilobite.dev/v1alpha1\nkind: ObservabilityStack\nmetadata: {{name: default}}\nspec: {spec}\n")
}

/// Polls until `ask` succeeds; the panic at the timeout contains the last error.
pub(crate) async fn eventually<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    seconds: u64,
    mut ask: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(seen) if Instant::now() > end => panic!("{what}: not within {seconds} s; last: {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
