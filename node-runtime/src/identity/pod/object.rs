//! From the pod of the API server to the parts that are kept. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use kube::api::{Object, ObjectMeta};
use serde::Deserialize;

use super::{
    lenient::Lenient,
    model::{Container, Pod},
};

/// Annotation of a mirror pod: the uid that the kubelet gives to the static pod and its cgroups.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Annotation with the same value. The API server checks it for nodes only: any user who may create pods may claim a static
/// pod's cgroups, so `Index::set_pods` decides between two claims.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation by which a pod asks to leave its TLS alone.
const TLS_CAPTURE: &str = "trilobite.dev/tls-capture";
/// Hexadecimal digits of the hash. A uid has dashes, so that no hash equals a uid.
const HASH_DIGITS: usize = 32;
/// Digits at the end of the name of a CronJob's Job: its scheduled minute.
const CRON_DIGITS: std::ops::RangeInclusive<usize> = 8..=10;

/// A pod of the API server, with the fields that are used.
pub(crate) type PodObject = Object<Lenient<PodSpec>, Lenient<PodStatus>>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    node_name: String,
    host_network: bool,
    containers: Vec<ContainerSpec>,
    init_containers: Vec<ContainerSpec>,
    ephemeral_containers: Vec<ContainerSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodStatus {
    phase: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<Address>,
    #[serde(rename = "hostIPs")]
    host_ips: Vec<Address>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// An address in a list of the API server, of a pod or of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Address {
    pub(crate) ip: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerSpec {
    name: String,
    image: String,
    security_context: SecurityContext,
    liveness_probe: Probe,
    readiness_probe: Probe,
    startup_probe: Probe,
    ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ContainerPort {
    pub(crate) name: String,
    pub(crate) container_port: u16,
    pub(crate) protocol: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Probe {
    exec: ExecAction,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ExecAction {
    command: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SecurityContext {
    privileged: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: String,
    #[serde(rename = "imageID")]
    image_id: String,
    state: State,
    last_state: State,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<Started>,
    terminated: Option<Started>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Started {
    started_at: String,
}

pub(crate) fn pod_from_object(object: &PodObject) -> Pod {
    let metadata = &object.metadata;
    let status = object.status.clone().unwrap_or_default();
    let labels = metadata.labels.clone().unwrap_or_default();
    let name = metadata.name.clone().unwrap_or_default();
    let uid = metadata.uid.clone().unwrap_or_default();
    let (workload, workload_kind) = workload_of(metadata);
    let hash = metadata.annotations.as_ref().and_then(static_hash);
    let specs = [&object.spec.containers, &object.spec.init_containers, &object.spec.ephemeral_containers];
    let statuses = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    Pod {
        cgroup_uid: hash.unwrap_or_else(|| uid.clone()),
        uid,
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name,
        labels,
        workload,
        workload_kind,
        ips: addresses(status.pod_ips.iter().map(|address| &address.ip)),
        node: object.spec.node_name.clone(),
        host_network: object.spec.host_network,
        ended: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
        tls_capture_off: metadata.annotations.as_ref().is_some_and(is_tls_capture_off),
        containers: specs
            .into_iter()
            .flatten()
            .map(|spec| container(spec, statuses.iter().copied().flatten().find(|status| status.name == spec.name)))
            .collect(),
    }
}

/// Addresses of the node that the pod runs on.
pub(crate) fn host_ips_of(object: &PodObject) -> Vec<IpAddr> {
    object.status.as_ref().map_or_else(Vec::new, |status| addresses(status.host_ips.iter().map(|address| &address.ip)))
}

/// The ports that the pod's containers declare, sidecars among them.
pub(crate) fn container_ports_of(object: &PodObject) -> impl Iterator<Item = &ContainerPort> {
    let containers = object.spec.containers.iter().chain(&object.spec.init_containers);
    containers.flat_map(|container| &container.ports)
}

/// Skips `None`, which a headless Service has in place of an address, and host names.
pub(crate) fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// Name and kind of the workload of a pod, from its metadata alone, so that every node gives the same answer.
fn workload_of(metadata: &ObjectMeta) -> (String, String) {
    match metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)) {
        // The owner of a mirror pod is its Node, which is no workload.
        Some(owner) if owner.kind != "Node" => {
            workload_of_owner(&owner.kind, &owner.name, metadata.labels.as_ref().unwrap_or(&BTreeMap::new()))
        }
        _ => (metadata.name.clone().unwrap_or_default(), "Pod".to_owned()),
    }
}

/// Whether a pod asks to leave its TLS alone. Any other word than this leaves the choice to the profile.
fn is_tls_capture_off(annotations: &BTreeMap<String, String>) -> bool {
    annotations.get(TLS_CAPTURE).is_some_and(|value| value == "off")
}

/// The config hash of a static pod; none where the two annotations differ.
fn static_hash(annotations: &BTreeMap<String, String>) -> Option<String> {
    let hash = annotations.get(CONFIG_HASH)?;
    let hexadecimal = hash.len() == HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hexadecimal && annotations.get(CONFIG_MIRROR) == Some(hash)).then(|| hash.clone())
}

fn container(spec: &ContainerSpec, status: Option<&ContainerStatus>) -> Container {
    let status = status.cloned().unwrap_or_default();
    // Between two starts the kubelet reports the id of the last container.
    let (now, last) = (status.state, status.last_state);
    let started = now.running.or(now.terminated).or(last.terminated).unwrap_or_default();
    Container {
        name: spec.name.clone(),
        id: status.container_id,
        image: spec.image.clone(),
        image_id: status.image_id,
        started_at: started.started_at,
        privileged: spec.security_context.privileged,
        exec_probes: [&spec.liveness_probe, &spec.readiness_probe, &spec.startup_probe]
            .map(|probe| probe.exec.command.clone())
            .into_iter()
            .filter(|command| !command.is_empty())
            .collect(),
    }
}

/// The Deployment of a ReplicaSet, the CronJob of a Job, or the owner itself.
fn workload_of_owner(kind: &str, name: &str, labels: &BTreeMap<String, String>) -> (String, String) {
    let itself = || (name.to_owned(), kind.to_owned());
    match kind {
        "ReplicaSet" => labels
            .get("pod-template-hash")
            .and_then(|hash| name.strip_suffix(hash.as_str())?.strip_suffix('-'))
            .map_or_else(itself, |deployment| (deployment.to_owned(), "Deployment".to_owned())),
        "Job" => name
            .rsplit_once('-')
            .filter(|(_, minute)| {
                CRON_DIGITS.contains(&minute.len()) && minute.bytes().all(|byte| byte.is_ascii_digit())
            })
            .map_or_else(itself, |(cron, _)| (cron.to_owned(), "CronJob".to_owned())),
        _ => itself(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(owner: (&str, &str), annotations: serde_json::Value) -> PodObject {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "cart-5d9f-x2", "namespace": "shop", "uid": "u1",
                "labels": {"app": "cart", "pod-template-hash": "5d9f"}, "annotations": annotations,
                "ownerReferences": [{"apiVersion": "v1", "kind": owner.0, "name": owner.1, "uid": "r", "controller": true}],
            },
            "spec": {
                "nodeName": "n2",
                "initContainers": [{"name": "prepare", "image": "tool"}],
                "containers": [{
                    "name": "main", "image": "cart:1", "securityContext": {"privileged": true},
                    "livenessProbe": {"httpGet": {"port": 80}}, "readinessProbe": {"exec": {"command": ["test", "-f", "/ok"]}},
                    "startupProbe": {"exec": null},
                }],
            },
            "status": {
                "podIPs": [{"ip": "10.2.0.9"}, {"ip": "fd00:2::9"}],
                "containerStatuses": [{
                    "name": "main", "containerID": "containerd://abc", "imageID": "cart@sha256:1",
                    "state": {"running": {"startedAt": "2030-01-02T03:04:05Z"}},
                }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn pod_keeps_the_fields_that_events_show() {
        let pod = pod_from_object(&object(("ReplicaSet", "cart-5d9f"), serde_json::json!({})));
        assert_eq!((pod.workload.as_str(), pod.workload_kind.as_str()), ("cart", "Deployment"));
        assert_eq!((pod.cgroup_uid.as_str(), pod.node.as_str(), pod.ips.len()), ("u1", "n2", 2));
        let [main, prepare] = &pod.containers[..] else { panic!("{:?}", pod.containers) };
        assert_eq!(
            (main.id.as_str(), main.image_id.as_str(), main.privileged),
            ("containerd://abc", "cart@sha256:1", true)
        );
        assert_eq!(main.started_at, "2030-01-02T03:04:05Z");
        assert_eq!((prepare.name.as_str(), prepare.id.as_str()), ("prepare", ""));
        assert_eq!(
            (main.exec_probes.as_slice(), prepare.exec_probes.len()),
            ([["test", "-f", "/ok"].map(String::from).to_vec()].as_slice(), 0)
        );
    }

    #[test]
    fn container_lost_by_the_kubelet_hides_neither_pod_nor_list() {
        let lost = serde_json::json!({
            "apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "7"},
            "items": [{
                "metadata": {"name": "cart-1", "namespace": "shop", "uid": "u1"},
                "spec": {"nodeName": "n2", "containers": [{"name": "main", "image": "cart:1", "securityContext": null}]},
                "status": {"phase": null, "podIPs": null, "containerStatuses": [{
                    "name": "main", "containerID": "", "lastState": {},
                    "state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null}},
                }]},
            }],
        });
        let list: kube::api::ObjectList<PodObject> = serde_json::from_value(lost).unwrap();
        let pod = pod_from_object(&list.items[0]);
        assert_eq!((pod.name.as_str(), pod.node.as_str(), pod.containers[0].started_at.as_str()), ("cart-1", "n2", ""));
    }

    #[test]
    fn waiting_container_shows_the_last_start() {
        let mut object = object(("Job", "migrate-2"), serde_json::json!({}));
        let waits = serde_json::json!({"containerStatuses": [{
            "name": "main", "containerID": "containerd://abc",
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"startedAt": "2030-01-02T03:04:05Z", "containerID": "containerd://abc"}},
        }]});
        object.status = Some(serde_json::from_value(waits).unwrap());
        assert_eq!(pod_from_object(&object).containers[0].started_at, "2030-01-02T03:04:05Z");
    }

    #[test]
    fn pod_has_ended_by_its_phase() {
        for (phase, ended) in [("Running", false), ("Pending", false), ("Succeeded", true), ("Failed", true)] {
            let mut object = object(("Job", "migrate-2"), serde_json::json!({}));
            object.status.as_mut().unwrap().value.phase = phase.to_owned();
            assert_eq!(pod_from_object(&object).ended, ended, "{phase}");
        }
    }

    #[test]
    fn pod_asks_by_an_annotation_to_leave_its_tls_alone() {
        for (value, off) in [("off", true), ("auto", false), ("", false)] {
            let annotated = object(("ReplicaSet", "cart-5d9f"), serde_json::json!({TLS_CAPTURE: value}));
            assert_eq!(pod_from_object(&annotated).tls_capture_off, off, "{value}");
        }
        assert!(!pod_from_object(&object(("ReplicaSet", "cart-5d9f"), serde_json::json!({}))).tls_capture_off);
    }

    #[test]
    fn static_pod_has_the_config_hash_as_cgroup_uid() {
        let hash = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        let pod = pod_from_object(&object(("Node", "n2"), serde_json::json!({CONFIG_HASH: hash, CONFIG_MIRROR: hash})));
        assert_eq!((pod.uid.as_str(), pod.cgroup_uid.as_str()), ("u1", hash));
        assert_eq!((pod.workload.as_str(), pod.workload_kind.as_str()), ("cart-5d9f-x2", "Pod"));
    }

    #[test]
    fn false_claim_to_be_static_keeps_the_own_uid() {
        let (hash, other) = ("0f1e2d3c4b5a69788796a5b4c3d2e1f0", "7f0e5f36-93a4-4d1b-8f0a-1f7a5a0c9e11");
        for annotations in [
            serde_json::json!({CONFIG_HASH: hash}),
            serde_json::json!({CONFIG_HASH: hash, CONFIG_MIRROR: "1f1e2d3c4b5a69788796a5b4c3d2e1f0"}),
            serde_json::json!({CONFIG_HASH: other, CONFIG_MIRROR: other}),
        ] {
            assert_eq!(
                pod_from_object(&object(("ReplicaSet", "cart-5d9f"), annotations.clone())).cgroup_uid,
                "u1",
                "{annotations}"
            );
        }
    }

    #[test]
    fn job_of_a_cron_job_is_shown_as_the_cron_job() {
        let labels = BTreeMap::new();
        assert_eq!(workload_of_owner("Job", "report-28912345", &labels), ("report".into(), "CronJob".into()));
        assert_eq!(workload_of_owner("Job", "migrate-2", &labels), ("migrate-2".into(), "Job".into()));
        assert_eq!(workload_of_owner("ReplicaSet", "bare-5d9f", &labels), ("bare-5d9f".into(), "ReplicaSet".into()));
    }
}
