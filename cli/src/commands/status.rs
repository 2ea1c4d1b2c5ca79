//! `trilobite status`: the state of the stack from the API server; with --socket, the state of one agent.

use std::{fmt::Debug, io::Write};

use kube::{Api, Client, Resource, api::ListParams};
use serde::{Serialize, de::DeserializeOwned};
use trilobite_api::{
    observer::{ServerStatusRequest, observer_client::ObserverClient},
    tetragon::{GetHealthStatusRequest, GetVersionRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient},
};

use super::{agents::connect, failure::Failure, print::print_line};
use crate::{
    agent::{Agent, AgentError, Transport, status_text, within_timeout},
    args::{StatusArgs, StatusFormat},
    cluster::ClusterError,
    report::{ClusterObjects, Report, render},
};

pub(super) async fn print_status(
    arguments: &StatusArgs,
    transport: &Transport,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Transport::Cluster { client, .. } = transport else {
        return print_agent_status(arguments, transport, out).await;
    };
    let report = Report::new(list_objects(client).await?);
    match arguments.output {
        StatusFormat::Json => print_line(out, &as_json(&report)?),
        StatusFormat::Table => out.write_all(render(&report).as_bytes()).map_err(Failure::Write),
    }
}

async fn list_objects(client: &Client) -> Result<ClusterObjects, ClusterError> {
    let (stacks, policies, namespaced_policies, captures, profiles, nodes) =
        tokio::try_join!(list(client), list(client), list(client), list(client), list(client), list(client))?;
    Ok(ClusterObjects { stacks, policies, namespaced_policies, captures, profiles, nodes })
}

async fn list<K>(client: &Client) -> Result<Vec<K>, ClusterError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let plural = K::plural(&());
    let listed = Api::<K>::all(client.clone()).list(&ListParams::default()).await;
    listed.map(|list| list.items).map_err(|error| ClusterError::new(format!("list {plural}"), &plural, error))
}

fn as_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::Write(error.into()))
}

/// The state of one agent; parts that it does not serve are listed in `missing`.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentStatus {
    agent: String,
    version: Option<String>,
    health: Option<String>,
    flows: Option<FlowCounts>,
    /// Parts without an answer, and why.
    missing: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct FlowCounts {
    held: u64,
    room: u64,
    seen: u64,
    per_second: f64,
}

async fn print_agent_status(arguments: &StatusArgs, transport: &Transport, out: &mut dyn Write) -> Result<(), Failure> {
    let agents = connect(transport, None).await?;
    for agent in agents {
        let status = query_agent(agent).await?;
        match arguments.output {
            StatusFormat::Json => print_line(out, &as_json(&status)?)?,
            StatusFormat::Table => print_line(out, &as_text(&status))?,
        }
    }
    Ok(())
}

async fn query_agent(agent: Agent) -> Result<AgentStatus, Failure> {
    let Agent { name, channel } = agent;
    let mut answers = AgentStatus { agent: name.clone(), ..AgentStatus::default() };
    let mut sensors = FineGuidanceSensorsClient::new(channel.clone());
    match within_timeout(sensors.get_version(GetVersionRequest {})).await {
        Ok(version) => answers.version = Some(version.into_inner().version),
        Err(status) if matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded) => {
            return Err(AgentError::refused(&name, "GetVersion", &status).into());
        }
        Err(status) => answers.missing.push(format!("version: {}", status_text(&status))),
    }
    match within_timeout(sensors.get_health(GetHealthStatusRequest { event_set: Vec::new() })).await {
        Ok(health) => answers.health = health.into_inner().health_status.pop().map(|health| health.details),
        Err(status) => answers.missing.push(format!("health: {}", status_text(&status))),
    }
    match within_timeout(ObserverClient::new(channel).server_status(ServerStatusRequest {})).await {
        Ok(status) => {
            let status = status.into_inner();
            answers.flows = Some(FlowCounts {
                held: status.num_flows,
                room: status.max_flows,
                seen: status.seen_flows,
                per_second: status.flows_rate,
            });
        }
        Err(status) => answers.missing.push(format!("flows: {}", status_text(&status))),
    }
    Ok(answers)
}

fn as_text(status: &AgentStatus) -> String {
    let mut lines =
        vec![format!("Agent at {}: version {}", status.agent, status.version.as_deref().unwrap_or("unknown"))];
    if let Some(health) = &status.health {
        lines.push(format!("  health: {health}"));
    }
    if let Some(FlowCounts { held, room, seen, per_second }) = &status.flows {
        lines.push(format!("  flows:  {held} of {room} held, {seen} seen, {per_second:.1} a second"));
    }
    lines.extend(status.missing.iter().map(|missing| format!("  unknown: {missing}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fake::{FakeAgent, flow_at};

    async fn printed(agent: &FakeAgent, output: StatusFormat) -> String {
        let mut out = Vec::new();
        print_status(&StatusArgs { output }, &agent.transport(), &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn status_of_a_local_agent() {
        let agent = FakeAgent::with_flows(vec![flow_at(1)]);
        assert_eq!(
            printed(&agent, StatusFormat::Table).await,
            "Agent at alder: version 9.8.7\n  health: running\n  flows:  1 of 4095 held, 1 seen, 0.0 a second\n"
        );
    }

    #[tokio::test]
    async fn missing_parts_are_listed_and_the_rest_is_shown() {
        let agent = FakeAgent::with_flows(Vec::new()).that_refuses("the network layer is off");
        let json: serde_json::Value = serde_json::from_str(&printed(&agent, StatusFormat::Json).await).unwrap();
        assert_eq!(json["missing"][0], "flows: the network layer is off");
        assert_eq!(json["version"], "9.8.7");
    }
}
