//! `trilobite status`: everything that the API server holds about the stack; with --socket, what one agent says of itself.

use std::{fmt::Debug, io::Write};

use kube::{Api, Client, Resource, api::ListParams};
use serde::{Serialize, de::DeserializeOwned};

use super::{agents::answering, print};
use crate::{
    agent::{Agent, AgentError, Reach, patiently, words},
    args::{StatusArguments, StatusFormat},
    cluster::ClusterError,
    failure::Failure,
    proto::{
        observer::{ServerStatusRequest, observer_client::ObserverClient},
        tetragon::{
            GetHealthStatusRequest, GetVersionRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient,
        },
    },
    report::{Found, Report, render},
};

pub(super) async fn run(arguments: &StatusArguments, reach: &Reach, out: &mut dyn Write) -> Result<(), Failure> {
    let Reach::Cluster { client, .. } = reach else {
        return local(arguments, reach, out).await;
    };
    let report = Report::new(find(client).await?);
    match arguments.output {
        StatusFormat::Json => print(out, &as_json(&report)?),
        StatusFormat::Table => out.write_all(render(&report).as_bytes()).map_err(Failure::Write),
    }
}

async fn find(client: &Client) -> Result<Found, ClusterError> {
    let (stacks, policies, namespaced_policies, captures, profiles, nodes) =
        tokio::try_join!(list(client), list(client), list(client), list(client), list(client), list(client))?;
    Ok(Found { stacks, policies, namespaced_policies, captures, profiles, nodes })
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

/// What one agent says of itself; what it does not serve is left out and said.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Local {
    agent: String,
    version: Option<String>,
    health: Option<String>,
    flows: Option<Flows>,
    /// What could not be had, and why.
    missing: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Flows {
    held: u64,
    room: u64,
    seen: u64,
    per_second: f64,
}

async fn local(arguments: &StatusArguments, reach: &Reach, out: &mut dyn Write) -> Result<(), Failure> {
    let agents = answering(reach, None).await?;
    for agent in agents {
        let said = ask(agent).await?;
        match arguments.output {
            StatusFormat::Json => print(out, &as_json(&said)?)?,
            StatusFormat::Table => print(out, &in_words(&said))?,
        }
    }
    Ok(())
}

async fn ask(agent: Agent) -> Result<Local, Failure> {
    let Agent { name, channel } = agent;
    let mut said = Local { agent: name.clone(), ..Local::default() };
    let mut sensors = FineGuidanceSensorsClient::new(channel.clone());
    match patiently(sensors.get_version(GetVersionRequest {})).await {
        Ok(version) => said.version = Some(version.into_inner().version),
        Err(status) if matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded) => {
            return Err(AgentError::refused(&name, "GetVersion", &status).into());
        }
        Err(status) => said.missing.push(format!("version: {}", words(&status))),
    }
    match patiently(sensors.get_health(GetHealthStatusRequest { event_set: Vec::new() })).await {
        Ok(health) => said.health = health.into_inner().health_status.pop().map(|health| health.details),
        Err(status) => said.missing.push(format!("health: {}", words(&status))),
    }
    match patiently(ObserverClient::new(channel).server_status(ServerStatusRequest {})).await {
        Ok(status) => {
            let status = status.into_inner();
            said.flows = Some(Flows {
                held: status.num_flows,
                room: status.max_flows,
                seen: status.seen_flows,
                per_second: status.flows_rate,
            });
        }
        Err(status) => said.missing.push(format!("flows: {}", words(&status))),
    }
    Ok(said)
}

fn in_words(said: &Local) -> String {
    let mut lines = vec![format!("Agent at {}: version {}", said.agent, said.version.as_deref().unwrap_or("unknown"))];
    if let Some(health) = &said.health {
        lines.push(format!("  health: {health}"));
    }
    if let Some(Flows { held, room, seen, per_second }) = &said.flows {
        lines.push(format!("  flows:  {held} of {room} held, {seen} seen, {per_second:.1} a second"));
    }
    lines.extend(said.missing.iter().map(|missing| format!("  not known: {missing}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fake::{FakeAgent, flow_at};

    async fn printed(agent: &FakeAgent, output: StatusFormat) -> String {
        let mut out = Vec::new();
        run(&StatusArguments { output }, &agent.reach(), &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn a_local_agent_says_how_it_is() {
        let agent = FakeAgent::with_flows(vec![flow_at(1)]);
        assert_eq!(
            printed(&agent, StatusFormat::Table).await,
            "Agent at alder: version 9.8.7\n  health: running\n  flows:  1 of 4095 held, 1 seen, 0.0 a second\n"
        );
    }

    #[tokio::test]
    async fn what_an_agent_does_not_serve_is_said_and_the_rest_is_shown() {
        let agent = FakeAgent::with_flows(Vec::new()).that_refuses("the network layer is off");
        let json: serde_json::Value = serde_json::from_str(&printed(&agent, StatusFormat::Json).await).unwrap();
        assert_eq!(json["missing"][0], "flows: the network layer is off");
        assert_eq!(json["version"], "9.8.7");
    }
}
