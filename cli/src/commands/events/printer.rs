//! Prints events, by whichever way they came.

use std::{io::Write, time::Duration};

use trilobite_api::{json, tetragon::GetEventsResponse};

use crate::{
    args::{EventsArgs, EventsFormat},
    commands::{failure::Failure, print::print_line},
    output::{event_line, event_line::Style, paint::Paint, stderr::stderr_line},
};

const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Prints events until there are enough.
pub(super) struct EventPrinter<'a> {
    arguments: &'a EventsArgs,
    style: Style,
    left: u64,
    printed: u64,
}

impl<'a> EventPrinter<'a> {
    pub(super) fn new(arguments: &'a EventsArgs) -> Self {
        let style = Style { paint: Paint(arguments.color.is_on()), timestamps: arguments.timestamps };
        Self { arguments, style, left: arguments.count.unwrap_or(u64::MAX), printed: 0 }
    }

    /// How long events are printed.
    pub(super) fn span(&self) -> Duration {
        if self.arguments.follow { FOREVER } else { self.arguments.span }
    }

    pub(super) fn wants_more(&self) -> bool {
        self.left > 0
    }

    pub(super) fn print(&mut self, event: &GetEventsResponse, out: &mut dyn Write) -> Result<(), Failure> {
        if let Some(line) = line(event, self.arguments.output, self.style)? {
            print_line(out, &line)?;
            // A loss is printed but does not count as an event.
            let events = u64::from(!event_line::is_loss(event));
            (self.left, self.printed) = (self.left - events, self.printed + events);
        }
        Ok(())
    }

    pub(super) fn finish(self) {
        if self.printed == 0 && !self.arguments.follow {
            stderr_line!("no event within {:?}; -f keeps watching, --for watches longer", self.arguments.span);
        }
    }
}

fn line(event: &GetEventsResponse, format: EventsFormat, style: Style) -> Result<Option<String>, Failure> {
    Ok(match format {
        EventsFormat::Compact => event_line::line(event, style),
        EventsFormat::Json => Some(json::to_string(event)),
    })
}
