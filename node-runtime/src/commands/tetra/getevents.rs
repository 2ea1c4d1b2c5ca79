//! `tetra getevents`.

use std::io::{IsTerminal, Write, stderr, stdout};

use anyhow::Context;
use prost_types::FieldMask;
use trilobite_api::tetragon::{
    FieldFilter, FieldFilterAction, Filter, GetEventsRequest, GetEventsResponse, get_events_response::Event,
};

use super::{
    args::{ColorMode, ConnectionArguments, EventArguments, EventFormat},
    connection::connect,
};
use crate::{
    commands::foreign_client::is_broken_pipe,
    serve::tetragon::{
        append_json_line,
        compact::{self, Paint},
    },
};

pub(super) async fn print_events(arguments: &EventArguments, connection: &ConnectionArguments) -> anyhow::Result<()> {
    loop {
        let result = print_stream(arguments, connection).await;
        let Err(error) = result else { return Ok(()) };
        if !arguments.reconnect || is_broken_pipe(&error) {
            return Err(error);
        }
        let wait = arguments.reconnect_wait;
        let _ = writeln!(stderr(), "getevents: err:{error:#} retrying in {wait:?}");
        tokio::time::sleep(wait).await;
    }
}

async fn print_stream(arguments: &EventArguments, connection: &ConnectionArguments) -> anyhow::Result<()> {
    let mut client = connect(connection).await?;
    let events = client.get_events(request(arguments)).await.context("failed to call GetEvents")?;
    let mut events = events.into_inner();
    let paint = match arguments.color {
        ColorMode::Always => Paint::Colours,
        ColorMode::Auto if stdout().is_terminal() => Paint::Colours,
        ColorMode::Auto | ColorMode::Never => Paint::Plain,
    };
    let mut lines = Vec::new();
    while let Some(event) = events.message().await.context("failed to receive events")? {
        lines.clear();
        append_event(event, arguments, paint, &mut lines);
        let mut out = stdout().lock();
        out.write_all(&lines)?;
        out.flush()?;
    }
    Ok(())
}

fn append_event(mut event: GetEventsResponse, arguments: &EventArguments, paint: Paint, lines: &mut Vec<u8>) {
    if arguments.output == EventFormat::Json {
        append_json_line(&event, lines);
        return;
    }
    if let Some(Event::ProcessKprobe(kprobe)) = event.event.as_mut().filter(|_| !arguments.stack_traces) {
        kprobe.kernel_stack_trace.clear();
        kprobe.user_stack_trace.clear();
    }
    if let Some(text) = compact::text(&event, paint, arguments.timestamps) {
        lines.extend_from_slice(text.as_bytes());
    }
}

fn request(arguments: &EventArguments) -> GetEventsRequest {
    let fields = |paths: &[String], action: FieldFilterAction| {
        let fields = Some(FieldMask { paths: paths.to_vec() });
        (!paths.is_empty()).then(|| FieldFilter { fields, action: action.into(), ..FieldFilter::default() })
    };
    // The host is the empty namespace.
    let host = arguments.host.then(String::new);
    let filter = Filter {
        binary_regex: arguments.process.clone(),
        namespace: arguments.namespace.iter().cloned().chain(host).collect(),
        pod_regex: arguments.pod.clone(),
        container_name_regex: arguments.containers.clone(),
        event_set: arguments.event_types.iter().map(|kind| (*kind).into()).collect(),
        policy_names: arguments.policy_names.clone(),
        namespace_regex: arguments.namespace_regex.clone(),
        cel_expression: arguments.cel_expression.clone(),
        ..Filter::default()
    };
    let include = fields(&arguments.include_fields, FieldFilterAction::Include);
    let exclude = fields(&arguments.exclude_fields, FieldFilterAction::Exclude);
    GetEventsRequest {
        allow_list: vec![filter],
        field_filters: include.into_iter().chain(exclude).collect(),
        ..GetEventsRequest::default()
    }
}
