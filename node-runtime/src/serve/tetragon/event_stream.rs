//! The stream of one GetEvents call: what its scope, filters, fields and aggregation leave of the events.

use std::collections::VecDeque;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use trilobite_api::{
    field_mask::EventFieldFilters,
    read_scope::ReadScope,
    tetragon::{self as api, EventType, FieldFilter, FieldFilterAction},
};

use super::{aggregate::Aggregator, encoder::EventEncoder, filter::EventFilters, visible::visible};
use crate::{
    layers::security::event_bus::{EventBus, StreamItem, Subscription},
    loss::LossPoint,
    serve::read_rows::{ReadResource, ReadRows},
};

pub(super) struct EventStream {
    events: Subscription,
    scope: ReadScope,
    rows: ReadRows,
    encoder: EventEncoder,
    fields: EventFieldFilters,
    wants_losses: bool,
    shows_ancestors: bool,
    aggregator: Option<Aggregator>,
    /// Messages that are ready.
    ready: VecDeque<api::GetEventsResponse>,
}

impl EventStream {
    pub(super) fn new(
        request: api::GetEventsRequest,
        scope: ReadScope,
        bus: &EventBus,
        encoder: &EventEncoder,
        rows: &ReadRows,
    ) -> Result<Self, Box<Status>> {
        let api::GetEventsRequest { allow_list, deny_list, aggregation_options, field_filters } = request;
        let invalid = |reason: String| Box::new(Status::invalid_argument(reason));
        let rate_limit_info = EventType::RateLimitInfo.into();
        let wants_losses = allow_list.iter().any(|filter| filter.event_set.contains(&rate_limit_info));
        let shows_ancestors = includes_ancestors(&field_filters);
        let aggregator = aggregation_options.map(|options| Aggregator::new(&options)).transpose().map_err(invalid)?;
        let fields = EventFieldFilters::new(field_filters).map_err(|error| invalid(error.to_string()))?;
        let filters = EventFilters::with_encoder(allow_list, deny_list, encoder)?;
        let wants_ancestors = shows_ancestors || filters.want_ancestors();
        let (seen, counted) = (scope.clone(), rows.clone());
        // The scope comes first: filters see what the call may see.
        let selects = move |event: &_| match visible(event, &seen) {
            Some(event) => filters.pass(&event),
            None => {
                counted.count_withheld(ReadResource::Events);
                false
            }
        };
        Ok(Self {
            events: bus.subscribe_with(LossPoint::StreamReader, wants_ancestors, selects),
            scope,
            rows: rows.clone(),
            encoder: encoder.clone(),
            fields,
            wants_losses,
            shows_ancestors,
            aggregator,
            ready: VecDeque::new(),
        })
    }

    pub(super) async fn next(&mut self) -> Option<api::GetEventsResponse> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            let window_end = self.aggregator.as_ref().and_then(Aggregator::window_end);
            let item = match window_end {
                Some(end) => tokio::select! {
                    item = self.events.next() => item,
                    () = sleep_until(end) => {
                        self.flush();
                        continue;
                    }
                },
                None => self.events.next().await,
            };
            match item {
                StreamItem::Event(event) => self.receive_event(&event),
                StreamItem::Lost(place, count) => {
                    self.flush();
                    let now = Timestamp::now();
                    // `tetra getevents -o compact` stops at a rate_limit_info, so only clients that ask for it get it.
                    self.ready.push_back(match self.wants_losses {
                        true => self.encoder.rate_limit_info(count, now),
                        false => self.encoder.loss_notice(place, count, now),
                    });
                }
                // A client knows that its stream broke; the export has a line for the gap.
                StreamItem::Gap(_) => {}
                StreamItem::Closed => {
                    self.flush();
                    return self.ready.pop_front();
                }
            }
        }
    }

    fn receive_event(&mut self, event: &crate::layers::security::SecurityEvent) {
        let Some(event) = visible(event, &self.scope) else { return };
        self.rows.count_sent(ReadResource::Events);
        let message = self.fields.apply(self.encoder.message_with(&event, self.shows_ancestors));
        match &mut self.aggregator {
            Some(aggregator) => self.ready.extend(aggregator.add(message, Instant::now())),
            None => self.ready.push_back(message),
        }
    }

    fn flush(&mut self) {
        self.ready.extend(self.aggregator.iter_mut().flat_map(Aggregator::flush));
    }
}

/// Ancestors make an event several times as long: they are sent to clients that name them.
pub(crate) fn includes_ancestors(filters: &[FieldFilter]) -> bool {
    let names_ancestors = |path: &str| path == "ancestors" || path.starts_with("ancestors.");
    filters.iter().any(|filter| {
        filter.action == i32::from(FieldFilterAction::Include)
            && filter.fields.iter().flat_map(|fields| &fields.paths).any(|path| names_ancestors(path))
    })
}
