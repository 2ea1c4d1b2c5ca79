//! A plan as text, a line for each unit: for golden tests and for people.

use std::fmt;

use super::Plan;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for unit in self.processes.values() {
            writeln!(f, "processes    {} ring={} {}", unit.source, unit.content.ring_bytes, scope(&unit.content.pods))?;
        }
        for unit in self.tracepoints.values() {
            let hooks: Vec<String> = unit
                .content
                .hooks
                .iter()
                .map(|hook| format!("{}{}/{}", if hook.raw { "raw:" } else { "" }, hook.subsystem, hook.event))
                .collect();
            writeln!(f, "tracepoints  {} {} {}", unit.source, hooks.join(","), scope(&unit.content.pods))?;
        }
        for unit in self.flows.values() {
            writeln!(
                f,
                "flows        {} entries={} {}",
                unit.source,
                unit.content.flow_entries,
                scope(&unit.content.pods)
            )?;
        }
        for unit in self.captures.values() {
            let until = unit.expires_at.map(|end| end.to_string()).unwrap_or_default();
            writeln!(f, "capture      {} until={until} {}", unit.source, scope(&unit.content.pods))?;
        }
        for unit in self.cpu_profiles.values() {
            let until = unit.expires_at.map(|end| end.to_string()).unwrap_or_default();
            writeln!(
                f,
                "cpu profile  {} {} Hz until={until} {}",
                unit.source,
                unit.content.frequency_hz,
                scope(&unit.content.pods)
            )?;
        }
        for (source, problem) in self.refused.values() {
            writeln!(f, "refused      {source} {}: {}", problem.reason(), problem.message())?;
        }
        Ok(())
    }
}

fn scope(pods: &trilobite_crds::node::PodScope) -> String {
    let mut words = Vec::new();
    if let Some(namespace) = &pods.namespace {
        words.push(format!("namespace={namespace}"));
    }
    if pods.namespace_selector.is_some() {
        words.push("by-namespace-labels".into());
    }
    if pods.pod_selector.is_some() {
        words.push("by-pod-labels".into());
    }
    if pods.include_host {
        words.push("and-host".into());
    }
    format!("[{}]", if words.is_empty() { "every pod".into() } else { words.join(" ") })
}
