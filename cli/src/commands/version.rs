//! `trilobite version`: of the command line, and of the operator and the agents where they can be read.

use std::{collections::BTreeMap, io::Write};

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde::Serialize;
use trilobite_api::tetragon::{GetVersionRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient};
use trilobite_crds::node::NodeRuntime;
use trilobite_untrusted_text::escape;

use super::{
    agents::connect,
    failure::Failure,
    print::{as_json, as_yaml, print_line},
};
use crate::{
    agent::{Transport, status_text, within_timeout},
    args::{ConnectionArgs, OutputFormat, VersionArgs},
    cluster::ClusterError,
};

#[derive(Debug, Default, PartialEq, Serialize)]
struct Versions {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<OperatorVersion>,
    /// Number of nodes by the version of their agents.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    agents: BTreeMap<String, usize>,
    /// What could not be read, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct OperatorVersion {
    version: String,
    image: String,
}

pub(super) async fn print_version(
    arguments: &VersionArgs,
    connection: &ConnectionArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut versions = Versions { client: env!("CARGO_PKG_VERSION"), ..Versions::default() };
    if !arguments.client {
        match Transport::new(connection).await {
            Ok(Transport::Cluster { client, namespace }) => versions.read_cluster(&client, &namespace).await,
            Ok(transport @ Transport::Socket(_)) => versions.read_agent(&transport).await,
            Err(error) => versions.unknown.push(error.to_string()),
        }
    }
    match arguments.output {
        OutputFormat::Json => print_line(out, &as_json(&versions)?),
        OutputFormat::Yaml => print_line(out, &as_yaml(&versions)?),
        OutputFormat::Table | OutputFormat::Wide => print_line(out, &as_text(&versions)),
    }
}

impl Versions {
    async fn read_cluster(&mut self, client: &Client, namespace: &str) {
        let (operator, nodes) = tokio::join!(operator_version(client, namespace), agent_versions(client));
        match operator {
            Ok(Some(operator)) => self.operator = Some(operator),
            Ok(None) => self.unknown.push(format!("there is no operator in namespace {namespace}")),
            Err(error) => self.unknown.push(error.to_string()),
        }
        match nodes {
            Ok(agents) => self.agents = agents,
            Err(error) => self.unknown.push(error.to_string()),
        }
        // The same unreachable server twice says nothing more.
        self.unknown.dedup();
    }

    async fn read_agent(&mut self, transport: &Transport) {
        let agents = match connect(transport, None).await {
            Ok(agents) => agents,
            Err(error) => return self.unknown.push(error.to_string()),
        };
        for agent in agents {
            let mut sensors = FineGuidanceSensorsClient::new(agent.channel);
            match within_timeout(sensors.get_version(GetVersionRequest {})).await {
                Ok(answer) => *self.agents.entry(answer.into_inner().version).or_default() += 1,
                Err(status) => self.unknown.push(format!("{}: {}", agent.name, status_text(&status))),
            }
        }
    }
}

async fn operator_version(client: &Client, namespace: &str) -> Result<Option<OperatorVersion>, ClusterError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let labels = ListParams::default().labels("app.kubernetes.io/name=trilobite-operator");
    let listed = deployments.list(&labels).await;
    let listed = listed.map_err(|error| ClusterError::new("read the operator's version", "deployments", error))?;
    Ok(listed.items.into_iter().next().map(|deployment| {
        let version = deployment.labels().get("app.kubernetes.io/version").cloned();
        let template = deployment.spec.map(|spec| spec.template).and_then(|template| template.spec);
        let image = template.and_then(|pod| pod.containers.into_iter().next()).and_then(|container| container.image);
        OperatorVersion { version: version.unwrap_or_else(|| "unknown".into()), image: image.unwrap_or_default() }
    }))
}

async fn agent_versions(client: &Client) -> Result<BTreeMap<String, usize>, ClusterError> {
    let listed = Api::<NodeRuntime>::all(client.clone()).list(&ListParams::default()).await;
    let listed = listed.map_err(|error| ClusterError::new("read the agents' versions", "noderuntimes", error))?;
    let mut versions = BTreeMap::new();
    for node in listed.items {
        let version = node.status.and_then(|status| status.agent_version);
        *versions.entry(version.unwrap_or_else(|| "unknown".into())).or_default() += 1;
    }
    Ok(versions)
}

fn as_text(versions: &Versions) -> String {
    let mut lines = vec![format!("client:   {}", versions.client)];
    if let Some(OperatorVersion { version, image }) = &versions.operator {
        lines.push(format!("operator: {} ({})", escape(version), escape(image)));
    }
    for (version, nodes) in &versions.agents {
        let nodes = if *nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
        lines.push(format!("agents:   {} on {nodes}", escape(version)));
    }
    lines.extend(versions.unknown.iter().map(|unknown| format!("unknown:  {}", escape(unknown))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_of_the_agents_is_counted() {
        let versions = Versions {
            client: "1.2.3",
            operator: Some(OperatorVersion { version: "1.2.2".into(), image: "reg.example/op:7".into() }),
            agents: [("1.2.1".into(), 1), ("1.2.2".into(), 4)].into(),
            unknown: Vec::new(),
        };
        assert_eq!(
            as_text(&versions),
            "client:   1.2.3\noperator: 1.2.2 (reg.example/op:7)\nagents:   1.2.1 on 1 node\nagents:   1.2.2 on 4 nodes"
        );
    }
}
