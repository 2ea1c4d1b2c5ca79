//! The container that prints events: a pod has it only if the stack wants events on standard output. The agent's own standard
//! output is mixed with its log.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, EnvVar, ResourceRequirements, SELinuxOptions, SeccompProfile, SecurityContext,
        VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use crate::controllers::stack::validate::ValidatedStack;

/// Where the agent writes events for the container; a folder of its own, so that the container cannot reach the agent's
/// socket beside it.
pub(super) const FIFO: &str = "/run/trilobite/export/events";
const FOLDER: &str = "/run/trilobite/export";

/// `node_name` is the variable by which the folder of this node is found in the volume `run`.
pub(super) fn export_container(validated: &ValidatedStack, node_name: EnvVar) -> Option<Container> {
    wants_stdout(validated).then(|| Container {
        name: "export-stdout".into(),
        image: Some(validated.image.clone()),
        image_pull_policy: validated.runtime.image_pull_policy.map(|policy| policy.as_str().into()),
        command: Some(vec!["/trilobite-export-stdout".into()]),
        args: Some(vec![FIFO.into()]),
        env: Some(vec![node_name]),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(&[("cpu", "5m"), ("memory", "2Mi")])),
            limits: Some(quantities(&[("memory", "16Mi")])),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            // The FIFO is readable by its owner alone, who is the agent.
            run_as_user: Some(0),
            privileged: Some(false),
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            // container_t may not open a file of the host.
            se_linux_options: Some(SELinuxOptions { type_: Some("spc_t".into()), ..SELinuxOptions::default() }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: "run".into(),
            mount_path: FOLDER.into(),
            sub_path_expr: Some("$(NODE_NAME)/export".into()),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    })
}

pub(super) fn wants_stdout(validated: &ValidatedStack) -> bool {
    validated.planned.profile.spec.export.as_ref().is_some_and(|export| export.stdout)
}

fn quantities(list: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
    list.iter().map(|(name, quantity)| ((*name).to_owned(), Quantity((*quantity).to_owned()))).collect()
}
