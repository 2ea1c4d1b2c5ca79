//! The agents' DaemonSet. Every privilege of the agent is listed here with its reason.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet},
        core::v1::{
            AppArmorProfile, Capabilities, ConfigMap, ConfigMapEnvSource, Container, ContainerPort, EnvFromSource,
            EnvVar, ExecAction, HostPathVolumeSource, PodSpec, PodTemplateSpec, Probe, SELinuxOptions, SeccompProfile,
            SecurityContext, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::core::ObjectMeta;
use trilobite_crds::{planner::content_digest, stack::DEFAULT_REQUESTS};

use super::{
    export_container::{FIFO, export_container, wants_stdout},
    pod::{field_of_pod, resource_requirements},
};
use crate::controllers::stack::validate::ValidatedStack;
use crate::labels::{DAEMON_SET, TEMPLATE, agent_metadata, agent_selector, common_labels};

/// Capabilities that every agent has, and why. The kernel tests boot with exactly these.
const CAPABILITIES: [&str; 6] = [
    // Loading programs and maps, and reading them back to account for them.
    "BPF",
    // Attaching to tracepoints, and opening perf events for CPU samples.
    "PERFMON",
    // Programs on the interfaces of pods, and entering their network namespaces' netlink.
    "NET_ADMIN",
    // /proc/PID of other users' processes: executables and maps for symbols, cwd and arguments of processes that ran
    // before.
    "SYS_PTRACE",
    // Reading pods' executables whatever their mode, to open them for the worker that has no privilege.
    "DAC_READ_SEARCH",
    // Kernel addresses in /proc/kallsyms, so that kernel stacks have names.
    "SYSLOG",
];

const STATE: &str = "/var/lib/trilobite";
const RUN: &str = "/run/trilobite";
const CGROUP: &str = "/host/cgroup";
const TRACING: &str = "/sys/kernel/tracing";

pub(super) fn build_daemon_set(validated: &ValidatedStack, settings: &ConfigMap) -> DaemonSet {
    DaemonSet {
        metadata: agent_metadata(&validated.namespace, &validated.owner),
        spec: Some(DaemonSetSpec {
            selector: LabelSelector { match_labels: Some(agent_selector()), match_expressions: None },
            template: with_digest(PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(common_labels()),
                    annotations: Some(annotations(validated, settings)),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(validated)),
            }),
            update_strategy: Some(update_strategy(validated)),
            revision_history_limit: Some(3),
            ..DaemonSetSpec::default()
        }),
        status: None,
    }
}

/// Adds the digest of the template as a label, so that each pod shows from which template it was made.
fn with_digest(mut template: PodTemplateSpec) -> PodTemplateSpec {
    let mut digest = content_digest(&template);
    digest.truncate(16);
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(TEMPLATE.into(), digest);
    template
}

fn annotations(validated: &ValidatedStack, settings: &ConfigMap) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([(format!("{}/settings", trilobite_crds::GROUP), settings_text(settings))]);
    if wants_stdout(validated) {
        // For `kubectl logs` and `kubectl exec` without a name.
        annotations.insert("kubectl.kubernetes.io/default-container".into(), "agent".into());
    }
    annotations
}

/// The settings as an annotation of the pods, so that a change of them is a new revision of the DaemonSet.
fn settings_text(settings: &ConfigMap) -> String {
    settings.data.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

fn update_strategy(validated: &ValidatedStack) -> DaemonSetUpdateStrategy {
    let strategy = validated.runtime.update_strategy.clone().unwrap_or_default();
    DaemonSetUpdateStrategy {
        type_: Some("RollingUpdate".into()),
        rolling_update: Some(RollingUpdateDaemonSet {
            max_unavailable: Some(strategy.max_unavailable),
            max_surge: None,
        }),
    }
}

fn pod_spec(validated: &ValidatedStack) -> PodSpec {
    PodSpec {
        service_account_name: Some(validated.service_account.clone()),
        priority_class_name: Some("system-node-critical".into()),
        // Flows are observed on the host's ends of the pods' veth pairs.
        host_network: Some(true),
        dns_policy: Some("ClusterFirstWithHostNet".into()),
        // Processes are identified by their PIDs on the host.
        host_pid: Some(true),
        node_selector: Some(validated.selection.node_selector.clone()),
        tolerations: Some(validated.selection.tolerations.clone()),
        termination_grace_period_seconds: Some(20),
        containers: [container(validated)].into_iter().chain(export_container(validated, node_name())).collect(),
        volumes: Some(vec![
            host_path("state", STATE, Some("DirectoryOrCreate")),
            host_path("run", RUN, Some("DirectoryOrCreate")),
            host_path("cgroup", "/sys/fs/cgroup", Some("Directory")),
            host_path("tracing", TRACING, None),
        ]),
        ..PodSpec::default()
    }
}

fn container(validated: &ValidatedStack) -> Container {
    let args = ["agent", "--node-name", "$(NODE_NAME)", "--cgroup-root", CGROUP, "--state-dir", STATE];
    let socket = format!("{RUN}/agent.sock");
    let export: &[&str] = if wants_stdout(validated) { &["--export-fifo", FIFO] } else { &[] };
    let args =
        args.into_iter().chain(["--socket", socket.as_str()]).chain(export.iter().copied()).map(String::from).collect();
    let ready = ["/trilobite-node", "ready", "--socket", &socket].map(String::from).to_vec();
    Container {
        name: "agent".into(),
        image: Some(validated.image.clone()),
        image_pull_policy: validated.runtime.image_pull_policy.map(|policy| policy.as_str().into()),
        command: Some(vec!["/trilobite-node".into()]),
        args: Some(args),
        env: Some(vec![node_name()]),
        env_from: Some(vec![EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource { name: DAEMON_SET.into(), optional: None }),
            ..EnvFromSource::default()
        }]),
        ports: validated.metrics.enabled.then(|| {
            vec![ContainerPort {
                name: Some("metrics".into()),
                container_port: validated.metrics.port,
                protocol: Some("TCP".into()),
                ..ContainerPort::default()
            }]
        }),
        // Frequent at startup, so that a rollout does not wait for a probe; rare later, because each probe runs a
        // program.
        startup_probe: Some(probe(&ready, 1, 120)),
        readiness_probe: Some(probe(&ready, 10, 2)),
        // An agent restarts only after a minute without a response, because everything it has loaded is unloaded with
        // it.
        liveness_probe: Some(probe(&ready, 20, 3)),
        resources: Some(resource_requirements(validated.runtime.resources.as_ref(), DEFAULT_REQUESTS)),
        security_context: Some(security_context(validated)),
        volume_mounts: Some(vec![
            // Nodes of a test cluster may share one host, so each has a directory with the node's name.
            VolumeMount { sub_path_expr: Some("$(NODE_NAME)".into()), ..mount("state", STATE) },
            VolumeMount { sub_path_expr: Some("$(NODE_NAME)".into()), ..mount("run", RUN) },
            // The host's cgroupfs; in the agent's own cgroup namespace, the agent's cgroup is the root.
            read_only("cgroup", CGROUP),
            // Formats and ids of tracepoints; empty if the host has not mounted tracefs.
            read_only("tracing", TRACING),
        ]),
        ..Container::default()
    }
}

fn node_name() -> EnvVar {
    field_of_pod("NODE_NAME", "spec.nodeName")
}

fn probe(command: &[String], period: i32, failures: i32) -> Probe {
    Probe {
        exec: Some(ExecAction { command: Some(command.to_vec()) }),
        period_seconds: Some(period),
        timeout_seconds: Some(3),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn security_context(validated: &ValidatedStack) -> SecurityContext {
    let opt_in = [
        // For kernels that require it in place of CAP_BPF and CAP_PERFMON; opt-in by runtime.allowSysAdmin.
        ("SYS_ADMIN", validated.runtime.allow_sys_admin),
        // Maps count against RLIMIT_MEMLOCK before 5.11; opt-in by runtime.allowSysResource.
        ("SYS_RESOURCE", validated.runtime.allow_sys_resource),
    ];
    let granted = opt_in.into_iter().filter_map(|(name, allowed)| allowed.then_some(name));
    SecurityContext {
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".into()]),
            add: Some(CAPABILITIES.into_iter().chain(granted).map(String::from).collect()),
        }),
        // A program in an image FROM scratch gets capabilities only as root.
        run_as_user: Some(0),
        privileged: Some(false),
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        // The default profile denies ptrace reads of other pods' processes.
        app_armor_profile: Some(AppArmorProfile { type_: "Unconfined".into(), localhost_profile: None }),
        // spc_t is SELinux's type for containers that manage their host; container_t may not use bpf(2).
        se_linux_options: Some(SELinuxOptions { type_: Some("spc_t".into()), ..SELinuxOptions::default() }),
        ..SecurityContext::default()
    }
}

fn host_path(name: &str, path: &str, r#type: Option<&str>) -> Volume {
    Volume {
        name: name.into(),
        host_path: Some(HostPathVolumeSource { path: path.into(), type_: r#type.map(String::from) }),
        ..Volume::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.into(), mount_path: path.into(), ..VolumeMount::default() }
}

fn read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(name, path) }
}
