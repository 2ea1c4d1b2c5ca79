//! Makes flows of the HTTP requests that the application layer decodes, while flows are wanted at all.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::pipeline::FlowPipeline;
use crate::{
    kernel::clock,
    layers::network::sources::http::{HttpExchange, HttpMessage},
};

/// Messages that wait to become flows; then the sender waits.
const QUEUE: usize = 256;
/// Messages of which flows are made under one lock.
const BATCH: usize = 64;
/// Exchanges wait while the owners of their addresses are listed for the first time.
const NAMES_RETRY: Duration = Duration::from_millis(20);

/// Where the decoder of requests sends them to; none while no flow is wanted.
pub type HttpInbox = watch::Receiver<Option<mpsc::Sender<HttpMessage>>>;

/// The receiving end, which exists while flows are wanted. Its task ends when the sender is gone.
#[derive(Default)]
pub(super) struct HttpReader(watch::Sender<Option<mpsc::Sender<HttpMessage>>>);

impl HttpReader {
    pub(super) fn inbox(&self) -> HttpInbox {
        self.0.subscribe()
    }

    /// Without anyone who follows the inbox nothing runs.
    pub(super) fn set_wanted(&self, is_wanted: bool, pipeline: &Arc<Mutex<FlowPipeline>>) {
        if is_wanted == self.0.borrow().is_some() || self.0.is_closed() {
            return;
        }
        self.0.send_replace(is_wanted.then(|| {
            let (sender, messages) = mpsc::channel(QUEUE);
            tokio::spawn(read_http(pipeline.clone(), messages));
            sender
        }));
    }
}

async fn read_http(pipeline: Arc<Mutex<FlowPipeline>>, mut messages: mpsc::Receiver<HttpMessage>) {
    let mut batch = Vec::with_capacity(BATCH);
    while messages.recv_many(&mut batch, BATCH).await > 0 {
        while pipeline.lock().must_wait_for_names() {
            sleep(NAMES_RETRY).await;
        }
        pipeline.lock().deliver_http(batch.drain(..));
    }
}

impl FlowPipeline {
    fn deliver_http(&mut self, messages: impl Iterator<Item = HttpMessage>) {
        let booted = clock::wall_time(0).as_nanosecond();
        let (mut lost, mut without_address) = (0, 0);
        let mut exchanges: Vec<HttpExchange> = Vec::new();
        for message in messages {
            match message {
                HttpMessage::Exchange(exchange) => exchanges.push(*exchange),
                HttpMessage::Lost(count) => lost += count,
                HttpMessage::WithoutAddress(count) => without_address += count,
            }
        }
        self.with_sink(|_, sink| exchanges.into_iter().for_each(|exchange| exchange.emit(sink, booted)));
        self.record_lost_http(lost, without_address);
    }
}
