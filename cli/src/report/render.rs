//! The report as text: few lines for what is in order, and what to do about the rest.

use std::fmt::{self, Write};

use super::build::{Finding, NodeReport, Report, StackReport};
use crate::output::table::table;

pub(crate) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Into a String this cannot fail.
    let _ = write_all(report, &mut text);
    text
}

fn write_all(report: &Report, text: &mut String) -> fmt::Result {
    if let Some(stack) = &report.stack {
        write_stack(stack, text)?;
    }
    let nodes = &report.nodes;
    if !nodes.is_empty() {
        writeln!(text, "\n{}", nodes_table(nodes).trim_end())?;
    }
    let kinds: Vec<_> = report.resources.iter().filter(|kind| kind.total > 0).collect();
    if !kinds.is_empty() {
        let rows: Vec<[String; 3]> =
            kinds.iter().map(|kind| [kind.kind.clone(), kind.total.to_string(), kind.in_order.to_string()]).collect();
        writeln!(text, "\n{}", table(["KIND", "TOTAL", "IN ORDER"], &rows).trim_end())?;
    }
    if report.wrong.is_empty() {
        return writeln!(text, "\nEverything is in order.");
    }
    let lead = if text.is_empty() { "" } else { "\n" };
    writeln!(text, "{lead}Not in order:")?;
    report.wrong.iter().try_for_each(|finding| write_finding(finding, text))
}

fn write_stack(stack: &StackReport, text: &mut String) -> fmt::Result {
    let state = match (stack.suspended, stack.ready) {
        (true, _) => "suspended",
        (false, true) => "ready",
        (false, false) => "not ready",
    };
    let layers: Vec<String> = stack.layers.iter().map(|layer| format!("{} {}", layer.name, layer.mode)).collect();
    writeln!(text, "Stack {}: {state}, {} nodes; {}", stack.name, stack.ready_nodes, layers.join(", "))?;
    for condition in &stack.conditions {
        writeln!(text, "  {}: {} ({})", condition.words, condition.message, condition.reason)?;
    }
    Ok(())
}

fn nodes_table(nodes: &[NodeReport]) -> String {
    let unless_empty = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let rows: Vec<[String; 9]> = nodes
        .iter()
        .map(|node| {
            let profile = match node.profile_in_force {
                Some(true) => "active",
                Some(false) => "another",
                None => "none",
            };
            [
                node.name.clone(),
                if node.ready { "yes" } else { "no" }.into(),
                profile.into(),
                node.parts_in_force.to_string(),
                node.running_sessions.to_string(),
                node.problems.len().to_string(),
                node.lost.to_string(),
                unless_empty(&node.kernel),
                unless_empty(&node.agent_version),
            ]
        })
        .collect();
    let header = ["NODE", "READY", "PROFILE", "PARTS", "SESSIONS", "PROBLEMS", "LOST", "KERNEL", "AGENT"];
    table(header, &rows)
}

fn write_finding(finding: &Finding, text: &mut String) -> fmt::Result {
    let Finding { object, reason, message, meaning, next } = finding;
    writeln!(text, "  {object}: {reason}")?;
    writeln!(text, "    what:  {message}")?;
    if let Some(meaning) = meaning {
        writeln!(text, "    means: {meaning}")?;
    }
    writeln!(text, "    next:  {next}")
}
