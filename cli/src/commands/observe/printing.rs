//! Which of the found flows are printed, and how, by whichever way they came.

use std::io::Write;

use trilobite_api::{
    json,
    lines::flat_flow::flat,
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
};

use crate::{
    args::{FlowsFormat, ObserveArgs},
    commands::{failure::Failure, print::print_line},
    output::{
        flow_line::{self, FlowStyle},
        paint::Paint,
        stderr::stderr_line,
        table::table,
    },
};

/// Number of flows without --last.
pub(super) const DEFAULT_LAST: u64 = 20;

pub(super) const HTTP_NEEDS_A_PROFILE: &str = "HTTP is decoded only in pods that an AppProfile selects: \
     kubectl label namespace NAMESPACE trilobite.dev/app-profile=http.15m";

/// Says on stderr why there may be no flow. `hint` is for flows in general.
pub(super) fn explain_no_flow(arguments: &ObserveArgs, hint: &str) {
    let why = if arguments.filter.wants_http() { HTTP_NEEDS_A_PROFILE } else { hint };
    stderr_line!("no flow matches; {why}");
}

pub(super) fn style(arguments: &ObserveArgs) -> FlowStyle {
    FlowStyle {
        paint: Paint(arguments.color.is_on()),
        node: arguments.print_node_name,
        policies: arguments.print_policy_names,
    }
}

pub(super) fn print_found(
    found: &[GetFlowsResponse],
    arguments: &ObserveArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if arguments.output == FlowsFormat::Table {
        return out.write_all(as_table(found, arguments.print_policy_names).as_bytes()).map_err(Failure::Write);
    }
    let style = style(arguments);
    found.iter().try_for_each(|flow| print_flow(flow, arguments.output, style, out))
}

/// Number of flows that the agents are asked for; 0 is all since a time, or with --follow none of the past.
pub(super) fn number(arguments: &ObserveArgs) -> u64 {
    match arguments.last {
        Some(number) => number,
        None if arguments.follow || arguments.since.is_some() => 0,
        None => DEFAULT_LAST,
    }
}

/// The `last` flows of all nodes together in the order of time, or all for 0, and all losses.
pub(crate) fn latest(mut found: Vec<GetFlowsResponse>, last: u64) -> Vec<GetFlowsResponse> {
    found.sort_by_key(|flow| flow.time.map(|time| (time.seconds, time.nanos)));
    let last = if last == 0 { u64::MAX } else { last };
    let is_flow = |one: &GetFlowsResponse| matches!(one.response_types, Some(ResponseTypes::Flow(_)));
    let mut surplus = (found.iter().filter(|one| is_flow(one)).count() as u64).saturating_sub(last);
    found.retain(|one| {
        let drop = surplus > 0 && is_flow(one);
        surplus -= u64::from(drop);
        !drop
    });
    found
}

pub(super) fn print_flow(
    flow: &GetFlowsResponse,
    format: FlowsFormat,
    style: FlowStyle,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let line = match (format, &flow.response_types) {
        (FlowsFormat::Json, _) => Some(json::to_string(flow)),
        (FlowsFormat::Dict, Some(ResponseTypes::Flow(_))) => flow_line::block(flow, style),
        (FlowsFormat::Flow, Some(ResponseTypes::Flow(flow))) => Some(flat(flow)),
        (FlowsFormat::Flow, _) => {
            // A line of another form would break what reads the flows.
            flow_line::line(flow, style).iter().for_each(|line| stderr_line!("warning: {line}"));
            None
        }
        (FlowsFormat::Compact | FlowsFormat::Table | FlowsFormat::Dict, _) => flow_line::line(flow, style),
    };
    line.map_or(Ok(()), |line| print_line(out, &line))
}

fn as_table(flows: &[GetFlowsResponse], policies: bool) -> String {
    let rows: Vec<[String; 7]> = flows
        .iter()
        .filter_map(|response| match &response.response_types {
            Some(ResponseTypes::Flow(flow)) => {
                let cells = flow_line::cells(flow, response, policies);
                let (source, destination) = if cells.arrow == "<-" {
                    (cells.destination, cells.source)
                } else {
                    (cells.source, cells.destination)
                };
                Some([cells.time, cells.node, source, destination, cells.kind, cells.verdict, cells.summary])
            }
            _ => None,
        })
        .collect();
    table(["TIMESTAMP", "NODE", "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"], &rows)
}
