//! `trilobite events`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use trilobite_api::tetragon::{EventType, get_events_response::Event};

use super::{color::ColorArgs, filter::FilterArgs, time::span};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventsFormat {
    Compact,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventKind {
    Exec,
    Exit,
    Tracepoint,
}

impl EventKind {
    pub(crate) fn event_type(self) -> EventType {
        match self {
            Self::Exec => EventType::ProcessExec,
            Self::Exit => EventType::ProcessExit,
            Self::Tracepoint => EventType::ProcessTracepoint,
        }
    }

    /// As the field `event` of the read API has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Exit => "exit",
            Self::Tracepoint => "tracepoint",
        }
    }

    pub(crate) fn is_kind_of(self, event: &Event) -> bool {
        match self {
            Self::Exec => matches!(event, Event::ProcessExec(_)),
            Self::Exit => matches!(event, Event::ProcessExit(_)),
            Self::Tracepoint => matches!(event, Event::ProcessTracepoint(_)),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Keep watching until Ctrl-C; without it the command ends after --for.
    #[arg(short, long, conflicts_with = "span")]
    pub(crate) follow: bool,
    /// How long to watch; agents do not keep past events.
    #[arg(long = "for", value_name = "TIME", value_parser = span, default_value = "10s")]
    pub(crate) span: Duration,
    /// Stop after this many events.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Kinds of events, comma-separated.
    #[arg(long = "type", value_enum, value_delimiter = ',')]
    pub(crate) types: Vec<EventKind>,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = EventsFormat::Compact)]
    pub(crate) output: EventsFormat,
    /// Begin each compact line with the time.
    #[arg(long)]
    pub(crate) timestamps: bool,
    #[command(flatten)]
    pub(crate) color: ColorArgs,
}
