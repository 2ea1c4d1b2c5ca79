//! `trilobite status --socket`: the state of one agent, without a cluster.

use std::io::Write;

use serde::Serialize;
use trilobite_api::{
    observer::{ServerStatusRequest, observer_client::ObserverClient},
    tetragon::{GetHealthStatusRequest, GetVersionRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient},
};
use trilobite_untrusted_text::escape;

use crate::{
    agent::{Agent, AgentError, Transport, status_text, within_timeout},
    args::{OutputFormat, StatusArgs},
    commands::{
        agents::connect,
        failure::Failure,
        print::{as_json, as_yaml, print_line},
    },
};

/// What an agent without a problem says of its health.
const RUNNING: &str = "running";

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

pub(super) async fn print_agent_status(
    arguments: &StatusArgs,
    transport: &Transport,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut ready = true;
    let agents = connect(transport, None).await?;
    for agent in agents {
        let status = query_agent(agent).await?;
        ready &= status.health.as_deref() == Some(RUNNING) && status.missing.is_empty();
        match arguments.output {
            OutputFormat::Json => print_line(out, &as_json(&status)?)?,
            OutputFormat::Yaml => print_line(out, &as_yaml(&status)?)?,
            OutputFormat::Table | OutputFormat::Wide => print_line(out, &as_text(&status))?,
        }
    }
    if arguments.exit_code && !ready { Err(Failure::NotReady) } else { Ok(()) }
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
        lines.push(format!("  health: {}", escape(health)));
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

    async fn printed(agent: &FakeAgent, output: OutputFormat) -> String {
        let mut out = Vec::new();
        let arguments = StatusArgs { output, ..StatusArgs::default() };
        print_agent_status(&arguments, &agent.transport(), &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    async fn exit_code_asked(agent: &FakeAgent) -> Result<(), Failure> {
        let arguments = StatusArgs { exit_code: true, ..StatusArgs::default() };
        print_agent_status(&arguments, &agent.transport(), &mut Vec::new()).await
    }

    #[tokio::test]
    async fn exit_code_tells_whether_the_agent_serves_everything() {
        assert!(exit_code_asked(&FakeAgent::with_flows(Vec::new())).await.is_ok());
        let refusing = FakeAgent::with_flows(Vec::new()).that_refuses("the network layer is off");
        assert!(matches!(exit_code_asked(&refusing).await, Err(Failure::NotReady)));
    }

    #[tokio::test]
    async fn status_of_a_local_agent() {
        let agent = FakeAgent::with_flows(vec![flow_at(1)]);
        assert_eq!(
            printed(&agent, OutputFormat::Table).await,
            "Agent at alder: version 9.8.7\n  health: running\n  flows:  1 of 4095 held, 1 seen, 0.0 a second\n"
        );
    }

    #[tokio::test]
    async fn missing_parts_are_listed_and_the_rest_is_shown() {
        let agent = FakeAgent::with_flows(Vec::new()).that_refuses("the network layer is off");
        let json: serde_json::Value = serde_json::from_str(&printed(&agent, OutputFormat::Json).await).unwrap();
        assert_eq!(json["missing"][0], "flows: the network layer is off");
        assert_eq!(json["version"], "9.8.7");
    }
}
