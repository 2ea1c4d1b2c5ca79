//! The report as text: few lines for what is in order, and what to do about the rest.

use std::fmt::{self, Write};

use jiff::{SignedDuration, Timestamp, fmt::strtime};
use trilobite_untrusted_text::escape;

use super::{
    build::{Report, StackReport, Unread},
    finding::Finding,
    nodes::NodeReport,
};
use crate::output::{
    paint::Paint,
    table::{painted_table, table},
};

/// How the report is printed.
#[derive(Clone, Copy)]
pub(crate) struct ReportStyle {
    pub(crate) paint: Paint,
    /// More columns.
    pub(crate) wide: bool,
}

pub(crate) fn render(report: &Report, style: ReportStyle) -> String {
    let mut text = String::new();
    // Into a String this cannot fail.
    let _ = write_all(report, style, &mut text);
    text
}

fn write_all(report: &Report, style: ReportStyle, text: &mut String) -> fmt::Result {
    let ReportStyle { paint, wide } = style;
    if report.is_stale() {
        let since = report.observed_at.map_or_else(
            || "nothing is known of before".to_owned(),
            |time| format!("what follows is from {}", clock_time(time, report.now)),
        );
        writeln!(text, "{}; {since}", paint.red("The operator does not run"))?;
    }
    if let Some(stack) = &report.stack {
        let reported = report.observed_at.map(|time| clock_time(time, report.now));
        write_stack(stack, reported.as_deref(), paint, text)?;
    }
    if !report.nodes.is_empty() {
        writeln!(text, "\n{}", nodes_table(&report.nodes, paint, wide).trim_end())?;
    }
    let kinds: Vec<_> = report.resources.iter().filter(|kind| kind.total > 0).collect();
    if !kinds.is_empty() {
        let rows: Vec<[String; 3]> =
            kinds.iter().map(|kind| [kind.kind.clone(), kind.total.to_string(), kind.in_order.to_string()]).collect();
        writeln!(text, "\n{}", table(["KIND", "TOTAL", "IN ORDER"], &rows).trim_end())?;
    }
    if !report.unread.is_empty() {
        let lead = lead(text);
        writeln!(text, "{lead}{}", paint.yellow("Could not be read:"))?;
        report.unread.iter().try_for_each(|unread| write_unread(unread, text))?;
    }
    match (report.wrong.is_empty(), report.unread.is_empty()) {
        (true, true) => writeln!(text, "\n{}", paint.green("Everything is in order.")),
        (true, false) => writeln!(text, "\nNothing is wrong in what could be read."),
        (false, _) => {
            let lead = lead(text);
            writeln!(text, "{lead}{}", paint.red("Not in order:"))?;
            report.wrong.iter().try_for_each(|finding| write_finding(finding, text))
        }
    }
}

/// A blank line between parts.
fn lead(text: &str) -> &'static str {
    if text.is_empty() { "" } else { "\n" }
}

/// `17:15:15 UTC`, with the date if it is not of the last day.
fn clock_time(time: Timestamp, now: Timestamp) -> String {
    let recent = now.duration_since(time).abs() < SignedDuration::from_hours(24);
    let format = if recent { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M:%S UTC" };
    strtime::format(format, time).unwrap_or_else(|_| time.to_string())
}

/// `reported` is when the conditions were written.
fn write_stack(stack: &StackReport, reported: Option<&str>, paint: Paint, text: &mut String) -> fmt::Result {
    let state = match stack.state {
        "ready" => paint.green(stack.state),
        "not ready" => paint.red(stack.state),
        other => paint.yellow(other),
    };
    let layers: Vec<String> = stack.layers.iter().map(|layer| format!("{} {}", layer.name, layer.mode)).collect();
    writeln!(text, "Stack {}: {state}, {} nodes; {}", stack.name, escape(&stack.ready_nodes), layers.join(", "))?;
    if stack.contradicts_its_conditions() {
        writeln!(text, "  its conditions, as of {}:", reported.unwrap_or("an unknown time"))?;
    }
    for condition in &stack.conditions {
        writeln!(text, "  {}: {} ({})", condition.words, escape(&condition.message), escape(&condition.reason))?;
    }
    Ok(())
}

fn nodes_table(nodes: &[NodeReport], paint: Paint, wide: bool) -> String {
    let unless_empty = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let color = |column: usize, cell: &str| match (column, cell) {
        (1, "yes") | (2, "Running") => paint.green(cell),
        (1, "no") => paint.red(cell),
        (1, _) => paint.yellow(cell),
        (2, cell) if cell != "-" => paint.red(cell),
        _ => cell.to_owned(),
    };
    let rows = nodes.iter().map(|node| {
        let profile = match node.profile_in_force {
            Some(true) => "active",
            Some(false) => "another",
            None => "none",
        };
        [
            node.name.clone(),
            node.readiness.into(),
            node.pod_state.clone().unwrap_or_else(|| "-".into()),
            profile.into(),
            node.parts_in_force.to_string(),
            node.running_sessions.to_string(),
            node.problems.len().to_string(),
            node.lost.to_string(),
            unless_empty(&node.kernel),
            unless_empty(&node.agent_version),
        ]
    });
    let header = ["NODE", "READY", "POD", "PROFILE", "PARTS", "SESSIONS", "PROBLEMS", "LOST", "KERNEL", "AGENT"];
    if !wide {
        return painted_table(header, &rows.collect::<Vec<_>>(), color);
    }
    let more = nodes.iter().map(|node| {
        let restarts = node.restarts.map_or_else(|| "-".to_owned(), |restarts| restarts.to_string());
        [node.pod.clone().unwrap_or_else(|| "-".into()), restarts]
    });
    let rows: Vec<[String; 12]> = rows.zip(more).map(|(row, more)| joined(row, more)).collect();
    painted_table(joined(header, ["POD NAME", "RESTARTS"]), &rows, color)
}

fn joined<T>(row: [T; 10], more: [T; 2]) -> [T; 12] {
    let [a, b, c, d, e, f, g, h, i, j] = row;
    let [k, l] = more;
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

fn write_unread(unread: &Unread, text: &mut String) -> fmt::Result {
    writeln!(text, "  {}", escape(&unread.what))?;
    writeln!(text, "    what:  {}", escape(&unread.message))?;
    writeln!(text, "    next:  {}", escape(&unread.next))
}

fn write_finding(finding: &Finding, text: &mut String) -> fmt::Result {
    let Finding { object, others, reason, message, meaning, next } = finding;
    let others = match others.as_slice() {
        [] => String::new(),
        [one] => format!(" and {one}"),
        [one, two] => format!(", {one} and {two}"),
        [one, two, rest @ ..] => format!(", {one}, {two} and {} more", rest.len()),
    };
    // A message may hold what a node says of a workload's file or process.
    writeln!(text, "  {}{}: {}", escape(object), escape(&others), escape(reason))?;
    writeln!(text, "    what:  {}", escape(message))?;
    if let Some(meaning) = meaning {
        writeln!(text, "    means: {meaning}")?;
    }
    writeln!(text, "    next:  {}", escape(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_is_shown_where_the_time_is_not_of_today() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-29T18:00:00Z");
        assert_eq!(clock_time(at("2026-11-29T17:15:15Z"), now), "17:15:15 UTC");
        assert_eq!(clock_time(at("2026-11-20T17:15:15Z"), now), "2026-11-20 17:15:15 UTC");
    }
}
