//! Cuts responses of the API server where their JSON is nested deeper than the parser allows. `DeserializeGuard`
//! isolates an object whose fields have wrong types, but serde_json's recursion limit fails the whole list: without the
//! cut, one policy nested a thousand times, which any author of policies can write, would make every list of its kind
//! unreadable.

use axum::body::{Body, Bytes};
use futures::TryStreamExt as _;
use kube::Client;
use tower::service_fn;

/// serde_json stops at 128; no field that this version knows is nested this deeply.
const MAX_DEPTH: u32 = 96;
/// Replaces what was cut. Not null: a cut field must not look like a field that was never set.
const REPLACEMENT: &[u8] = b"\"nested too deeply to be read\"";

/// The same client, with every response cut to a depth that can be parsed.
pub(crate) fn limit_json_depth(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |request| {
        let client = client.clone();
        async move { Ok::<_, kube::Error>(client.send(request).await?.map(limit_body)) }
    });
    Client::new(service, namespace)
}

fn limit_body(body: kube::client::Body) -> Body {
    let mut cutter = DepthCutter::default();
    Body::from_stream(Body::new(body).into_data_stream().map_ok(move |bytes| cutter.cut(bytes)))
}

/// Position in the JSON, kept across the chunks of one body; a watch is a sequence of objects.
#[derive(Debug, Default)]
struct DepthCutter {
    depth: u32,
    text: TextState,
}

#[derive(Clone, Copy, Debug, Default)]
enum TextState {
    #[default]
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

impl DepthCutter {
    fn is_too_deep(&self) -> bool {
        self.depth > MAX_DEPTH
    }

    /// The next chunk without what is nested too deeply.
    fn cut(&mut self, chunk: Bytes) -> Bytes {
        let (mut kept, mut from) = (Vec::new(), 0);
        for (at, byte) in chunk.iter().enumerate() {
            let was_too_deep = self.is_too_deep();
            self.advance(*byte);
            if !was_too_deep && self.is_too_deep() {
                kept.extend_from_slice(&chunk[from..at]);
                kept.extend_from_slice(REPLACEMENT);
            }
            if was_too_deep && !self.is_too_deep() {
                from = at + 1;
            }
        }
        if self.is_too_deep() {
            return kept.into();
        }
        if from == 0 {
            // The usual case: nothing was cut.
            return chunk;
        }
        kept.extend_from_slice(&chunk[from..]);
        kept.into()
    }

    fn advance(&mut self, byte: u8) {
        self.text = match (self.text, byte) {
            (TextState::Outside, b'"') | (TextState::Escaped, _) => TextState::Inside,
            (TextState::Inside, b'\\') => TextState::Escaped,
            (TextState::Inside, b'"') => TextState::Outside,
            (TextState::Outside, b'{' | b'[') => {
                self.depth = self.depth.saturating_add(1);
                TextState::Outside
            }
            (TextState::Outside, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                TextState::Outside
            }
            (same, _) => same,
        };
    }
}

#[cfg(test)]
mod tests {
    use kube::{Api, core::DeserializeGuard};
    use proptest::prelude::*;
    use serde_json::Value;
    use tower_test::mock;
    use trilobite_crds::{Inputs, ObservabilityStack, Reason, TracingPolicy, plan};

    use super::*;

    fn nested(times: usize) -> String {
        format!("{}1{}", r#"{"a":["#.repeat(times), "]}".repeat(times))
    }

    fn policy(name: &str, spec: &str) -> String {
        format!(
            r#"{{"apiVersion":"trilobite.dev/v1alpha1","kind":"TracingPolicy","metadata":{{"name":"{name}"}},"spec":{spec}}}"#
        )
    }

    fn list() -> String {
        let good = policy("good", r#"{"tracepoints":[{"subsystem":"sched","event":"sched_process_fork"}]}"#);
        let deep = policy("deep", &format!(r#"{{"rollout":{},"tracepoints":[]}}"#, nested(1000)));
        format!(r#"{{"kind":"List","apiVersion":"v1","metadata":{{}},"items":[{deep},{good}]}}"#)
    }

    #[tokio::test]
    async fn only_the_policy_that_is_nested_too_deeply_is_refused() {
        let (service, mut requests) = mock::pair::<http::Request<kube::client::Body>, _>();
        let server = tokio::spawn(async move {
            let (_, response) = requests.next_request().await.unwrap();
            response.send_response(http::Response::new(kube::client::Body::from(list().into_bytes())));
        });
        let client = limit_json_depth(Client::new(service, "ink-system"));
        let policies: Api<DeserializeGuard<TracingPolicy>> = Api::all(client);
        let list = policies.list(&kube::api::ListParams::default()).await.unwrap();
        server.await.unwrap();
        let read: Vec<_> = list.items.iter().map(|policy| policy.0.as_ref().unwrap()).collect();
        let stack = ObservabilityStack::new("default", Default::default());
        let planned = plan(&Inputs { policies: read, ..Inputs::new(&stack) });
        assert_eq!(planned.parts.len(), 2, "the stack's processes, and the good policy");
        let refused: Vec<_> =
            planned.refusals.iter().map(|refusal| (refusal.source.name.as_str(), refusal.reason)).collect();
        assert_eq!(refused, [("deep", Reason::Unsupported)]);
        assert_eq!(planned.refusals[0].field, "spec.rollout");
    }

    #[test]
    fn json_within_the_limit_is_unchanged() {
        let text = format!(r#"{{"a":"}}]\"{{[","b":{}}}"#, nested(40));
        assert_eq!(DepthCutter::default().cut(text.clone().into()), text);
    }

    proptest! {
        #[test]
        fn a_body_can_be_parsed_whatever_its_chunk_size(size in 1usize..400) {
            let (text, mut cutter) = (list(), DepthCutter::default());
            let chunks = text.as_bytes().chunks(size);
            let whole: Vec<u8> = chunks.flat_map(|chunk| cutter.cut(Bytes::copy_from_slice(chunk)).to_vec()).collect();
            let read: Value = serde_json::from_slice(&whole).unwrap();
            prop_assert_eq!(&read["items"][1]["metadata"]["name"], "good");
            prop_assert_eq!(&read["items"][0]["metadata"]["name"], "deep");
        }
    }
}
