//! `nodes`: which agents answer the relay, and why the others do not.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use trilobite_api::{
    read_scope::ReadScope,
    tetragon::{GetVersionRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient},
};

use super::{
    ask_nodes::ask_nodes,
    coverage::{CoverageTracker, NodeState},
    event_cells::cell,
    follow::call,
    object::{Metadata, Row},
    stream_item::now_nanoseconds,
    stream_query::scoped,
    watch::Reader,
};
use crate::query::FieldSelector;

/// Fields of field selectors.
pub const FIELDS: &[&str] = &["state", "metadata.name"];

/// Asks every agent for its version.
pub async fn node_answers(reader: &Arc<Reader>, fields: &FieldSelector, coverage: &CoverageTracker) -> Vec<Row> {
    let answers: Mutex<Vec<Row>> = Mutex::default();
    let now = now_nanoseconds();
    let ask = |node: String| {
        let answers = &answers;
        async move {
            let asked = call(&reader.pool, &node, |connected| async move {
                let request = scoped(GetVersionRequest {}, &ReadScope::Everything)?;
                FineGuidanceSensorsClient::new(connected.channel).get_version(request).await
            });
            let (state, version, detail) = match asked.await {
                Ok((_, response)) => {
                    coverage.set_answered(&node);
                    (NodeState::Answered, response.into_inner().version, String::new())
                }
                Err(failure) => {
                    coverage.set_failed(&node, failure.clone());
                    (NodeState::from(failure.cause), String::new(), failure.detail)
                }
            };
            if fields.matches("state", state.as_str()) {
                answers.lock().push(row(&node, state, &version, &detail, now));
            }
        }
    };
    ask_nodes(&reader.pool, coverage, |node| fields.matches("metadata.name", node), ask).await;
    let mut answers = answers.into_inner();
    answers.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    answers
}

fn row(node: &str, state: NodeState, version: &str, detail: &str, now: u64) -> Row {
    let object = json!({"node": node, "state": state, "version": version, "detail": detail});
    Row {
        metadata: Metadata { name: node.to_owned(), time: now, ..Metadata::default() },
        object: object.to_string().into_bytes(),
        cells: vec![cell(node), state.as_str().to_owned(), cell(version), cell(detail)],
    }
}
