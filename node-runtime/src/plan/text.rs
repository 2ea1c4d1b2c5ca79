//! A plan as text, one line per unit: for golden tests and for people.

use std::fmt;

use trilobite_crds::node::{PodScope, RequestsSession};

use super::{Plan, Unit, UnitContent};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut units: Vec<_> = self.units.values().collect();
        // By kind, in the order of the enum; units of a kind keep the order of their keys.
        units.sort_by_key(|unit| unit.content.kind_rank());
        units.into_iter().try_for_each(|unit| line(f, unit))?;
        for (source, problem) in self.refused.values() {
            writeln!(f, "refused      {source} {}: {}", problem.reason(), problem.message())?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, unit: &Unit<UnitContent>) -> fmt::Result {
    let source = &unit.source;
    let until = unit.expires_at.map(|end| end.to_string()).unwrap_or_default();
    match &unit.content {
        UnitContent::Processes(part) => {
            writeln!(f, "processes    {source} ring={} {}", part.ring_bytes, scope(&part.pods))
        }
        UnitContent::Policy(part) | UnitContent::PolicyCheck(part) => {
            let kind = if part.dry_run { "check       " } else { "policy      " };
            let spec = &part.spec;
            let tracepoints = spec
                .tracepoints
                .iter()
                .map(|hook| format!("{}{}/{}", if hook.raw { "raw:" } else { "" }, hook.subsystem, hook.event));
            let functions = spec.kprobes.iter().chain(&spec.fentries).map(|hook| hook.call.clone());
            let hooks: Vec<String> = tracepoints.chain(functions).collect();
            writeln!(f, "{kind} {source} {} {}", hooks.join(","), scope(&part.pods))
        }
        UnitContent::Flows(part) => {
            writeln!(f, "flows        {source} entries={} {}", part.flow_entries, scope(&part.pods))
        }
        UnitContent::Capture(session) => writeln!(f, "capture      {source} until={until} {}", scope(&session.pods)),
        UnitContent::AppProfile(session) => {
            let cpu = session.cpu.map(|cpu| format!(" cpu={}Hz", cpu.frequency_hz)).unwrap_or_default();
            let requests = session.requests.as_ref().map(|requests| format!(" requests={}", protocols(requests)));
            let (requests, pods) = (requests.unwrap_or_default(), scope(&session.pods));
            let until = if until.is_empty() { "no end".into() } else { format!("until={until}") };
            writeln!(f, "app profile  {source}{cpu}{requests} {until} {pods}")
        }
    }
}

fn protocols(requests: &RequestsSession) -> String {
    let words: Vec<&str> = requests.protocols.iter().map(|protocol| protocol.as_str()).collect();
    if words.is_empty() { "all".into() } else { words.join(",") }
}

fn scope(pods: &PodScope) -> String {
    let mut parts = Vec::new();
    if let Some(namespace) = &pods.namespace {
        parts.push(format!("namespace={namespace}"));
    }
    if pods.namespace_selector.is_some() {
        parts.push("by-namespace-labels".into());
    }
    if pods.pod_selectors().next().is_some() {
        parts.push("by-pod-labels".into());
    }
    if pods.container_selectors().next().is_some() {
        parts.push("by-container".into());
    }
    if pods.includes_host() {
        parts.push(if pods.excludes_pods() { "host-alone" } else { "and-host" }.into());
    }
    format!("[{}]", if parts.is_empty() { "every pod".into() } else { parts.join(" ") })
}
