//! Answers questions about policies, a line of JSON each: `e2e/policy-references` asks what other projects know the answer of.

use std::{
    error::Error,
    io::{self, BufRead, BufWriter, Write},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trilobite_netpol::{
    Connection, Decision, Labels, NamedPort, Node, Peer, Pod, Policy, PolicyName, PolicySet, Protocol, Side, Verdict,
};

/// The state of a cluster, and connections in it.
#[derive(Deserialize)]
struct Question {
    policies: Vec<Value>,
    pods: Vec<AskedPod>,
    nodes: Vec<AskedNode>,
    connections: Vec<AskedConnection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AskedPod {
    namespace: String,
    name: String,
    labels: Labels,
    namespace_labels: Labels,
    named_ports: Vec<AskedPort>,
}

#[derive(Deserialize)]
struct AskedPort {
    name: String,
    protocol: String,
    port: u16,
}

#[derive(Deserialize)]
struct AskedNode {
    name: String,
    labels: Labels,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AskedConnection {
    client: AskedPeer,
    client_ip: IpAddr,
    server: AskedPeer,
    server_ip: IpAddr,
    protocol: String,
    port: u16,
}

/// An index of the question's pods or of its nodes; neither is outside of the cluster.
#[derive(Deserialize)]
struct AskedPeer {
    pod: Option<usize>,
    node: Option<usize>,
}

/// A decision for each connection, and what was refused of the policies.
#[derive(Serialize)]
struct Answer {
    refused: Vec<String>,
    decisions: Vec<AnsweredDecision>,
}

#[derive(Serialize)]
struct AnsweredDecision {
    egress: AnsweredSide,
    ingress: AnsweredSide,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnsweredSide {
    allowed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_by: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    denied_by: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    isolated_by: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let question: Question = serde_json::from_str(&line?)?;
        serde_json::to_writer(&mut out, &answer(&question)?)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(question: &Question) -> Result<Answer, Box<dyn Error>> {
    let mut refused = Vec::new();
    let mut policies = Vec::new();
    for object in &question.policies {
        match Policy::from_json(object) {
            Ok(policy) => policies.push(policy),
            Err(why) => refused.push(why.to_string()),
        }
    }
    let (set, inside) = PolicySet::compile(&policies);
    refused.extend(inside.iter().map(|one| format!("{}: {}: {}", one.policy, one.field, one.why)));
    let ports = named_ports(&question.pods)?;
    let decide = |asked| Ok(AnsweredDecision::from(&set.evaluate(&connection(question, &ports, asked)?)));
    let decisions = question.connections.iter().map(decide).collect::<Result<_, Box<dyn Error>>>()?;
    Ok(Answer { refused, decisions })
}

fn named_ports(pods: &[AskedPod]) -> Result<Vec<Vec<NamedPort>>, Box<dyn Error>> {
    let read = |port: &AskedPort| {
        Ok(NamedPort { name: port.name.clone(), protocol: protocol(&port.protocol)?, port: port.port })
    };
    pods.iter().map(|pod| pod.named_ports.iter().map(read).collect()).collect()
}

fn protocol(text: &str) -> Result<Protocol, Box<dyn Error>> {
    Protocol::parse(text).ok_or_else(|| format!("{text} is not a protocol of policies").into())
}

fn connection<'a>(
    question: &'a Question,
    ports: &'a [Vec<NamedPort>],
    asked: &AskedConnection,
) -> Result<Connection<'a>, Box<dyn Error>> {
    let peer = |asked: &AskedPeer| -> Result<Peer<'a>, Box<dyn Error>> {
        if let Some(index) = asked.pod {
            let pod = question.pods.get(index).ok_or("there is no such pod")?;
            return Ok(Peer::Pod(Pod {
                namespace: &pod.namespace,
                name: &pod.name,
                labels: &pod.labels,
                namespace_labels: &pod.namespace_labels,
                named_ports: ports.get(index).map_or(&[], Vec::as_slice),
                node: "",
            }));
        }
        let Some(index) = asked.node else { return Ok(Peer::External) };
        let node = question.nodes.get(index).ok_or("there is no such node")?;
        Ok(Peer::Node(Node { name: &node.name, labels: &node.labels }))
    };
    Ok(Connection {
        client: peer(&asked.client)?,
        client_ip: asked.client_ip,
        server: peer(&asked.server)?,
        server_ip: asked.server_ip,
        protocol: protocol(&asked.protocol)?,
        port: asked.port,
    })
}

impl From<&Decision> for AnsweredDecision {
    fn from(decision: &Decision) -> Self {
        Self { egress: (&decision.egress).into(), ingress: (&decision.ingress).into() }
    }
}

impl From<&Side> for AnsweredSide {
    fn from(side: &Side) -> Self {
        let texts = |names: &[PolicyName]| names.iter().map(ToString::to_string).collect();
        Self {
            allowed: side.verdict == Verdict::Allowed,
            allowed_by: texts(&side.allowed_by),
            denied_by: texts(&side.denied_by),
            isolated_by: texts(&side.isolated_by),
        }
    }
}
