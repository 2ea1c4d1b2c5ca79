//! Cuts what the API server answers where it is nested deeper than the parser goes. Whoever may write a policy may write one
//! that is nested a thousand times, and one such object would keep every list of its kind from being read.

use axum::body::{Body, Bytes};
use futures::TryStreamExt as _;
use kube::Client;
use tower::service_fn;

/// serde_json gives up at 128; nothing that has a name of ours is nested as deeply as this.
const DEEPEST: u32 = 96;
/// Stands where something was cut, and asks for something: what was cut is never taken for a field that was not written.
const INSTEAD: &[u8] = b"\"nested too deeply to be read\"";

/// The same client, whose answers can all be parsed.
pub(crate) fn shallow(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |request| {
        let client = client.clone();
        async move { Ok::<_, kube::Error>(client.send(request).await?.map(cut)) }
    });
    Client::new(service, namespace)
}

fn cut(body: kube::client::Body) -> Body {
    let mut cut = Cut::default();
    Body::from_stream(Body::new(body).into_data_stream().map_ok(move |bytes| cut.take(bytes)))
}

/// Where in the JSON it is; a body comes in pieces, and a watch is one after another.
#[derive(Debug, Default)]
struct Cut {
    depth: u32,
    text: Text,
}

#[derive(Clone, Copy, Debug, Default)]
enum Text {
    #[default]
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

impl Cut {
    fn is_deep(&self) -> bool {
        self.depth > DEEPEST
    }

    /// What is left of the next piece.
    fn take(&mut self, piece: Bytes) -> Bytes {
        let (mut kept, mut from) = (Vec::new(), 0);
        for (at, byte) in piece.iter().enumerate() {
            let was_deep = self.is_deep();
            self.step(*byte);
            if !was_deep && self.is_deep() {
                kept.extend_from_slice(&piece[from..at]);
                kept.extend_from_slice(INSTEAD);
            }
            if was_deep && !self.is_deep() {
                from = at + 1;
            }
        }
        if self.is_deep() {
            return kept.into();
        }
        if from == 0 {
            // Nothing was cut, as nearly always.
            return piece;
        }
        kept.extend_from_slice(&piece[from..]);
        kept.into()
    }

    fn step(&mut self, byte: u8) {
        self.text = match (self.text, byte) {
            (Text::Outside, b'"') | (Text::Escaped, _) => Text::Inside,
            (Text::Inside, b'\\') => Text::Escaped,
            (Text::Inside, b'"') => Text::Outside,
            (Text::Outside, b'{' | b'[') => {
                self.depth = self.depth.saturating_add(1);
                Text::Outside
            }
            (Text::Outside, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                Text::Outside
            }
            (same, _) => same,
        };
    }
}

#[cfg(test)]
mod tests {
    use kube::Api;
    use proptest::prelude::*;
    use serde_json::Value;
    use tower_test::mock;
    use trilobite_crds::{Inputs, ObservabilityStack, Reason, TracingPolicy, plan};

    use super::*;
    use crate::watch::{Guarded, readable};

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
        let deep = policy("deep", &format!(r#"{{"kprobes":{},"tracepoints":[]}}"#, nested(1000)));
        format!(r#"{{"kind":"List","apiVersion":"v1","metadata":{{}},"items":[{deep},{good}]}}"#)
    }

    #[tokio::test]
    async fn one_policy_that_is_nested_too_deeply_is_refused_alone() {
        let (service, mut requests) = mock::pair::<http::Request<kube::client::Body>, _>();
        let answers = tokio::spawn(async move {
            let (_, answer) = requests.next_request().await.unwrap();
            answer.send_response(http::Response::new(kube::client::Body::from(list().into_bytes())));
        });
        let policies: Api<Guarded<TracingPolicy>> = Api::all(shallow(Client::new(service, "ink-system")));
        let list = policies.list(&kube::api::ListParams::default()).await.unwrap();
        answers.await.unwrap();
        let read: Vec<_> = list.items.iter().map(|policy| readable(policy).unwrap()).collect();
        let stack = ObservabilityStack::new("default", Default::default());
        let planned = plan(&Inputs { stack: &stack, policies: read, namespaced_policies: Vec::new() });
        assert_eq!(planned.parts.len(), 2, "the stack's processes, and the good policy");
        let refused: Vec<_> =
            planned.refusals.iter().map(|refusal| (refusal.source.name.as_str(), refusal.reason)).collect();
        assert_eq!(refused, [("deep", Reason::Unsupported)]);
        assert_eq!(planned.refusals[0].field, "spec.kprobes");
    }

    #[test]
    fn what_is_not_nested_too_deeply_is_left_as_it_is() {
        let text = format!(r#"{{"a":"}}]\"{{[","b":{}}}"#, nested(40));
        assert_eq!(Cut::default().take(text.clone().into()), text);
    }

    proptest! {
        #[test]
        fn wherever_a_body_is_broken_into_pieces_it_can_be_parsed(size in 1usize..400) {
            let (text, mut cut) = (list(), Cut::default());
            let pieces = text.as_bytes().chunks(size);
            let whole: Vec<u8> = pieces.flat_map(|piece| cut.take(Bytes::copy_from_slice(piece)).to_vec()).collect();
            let read: Value = serde_json::from_slice(&whole).unwrap();
            prop_assert_eq!(&read["items"][1]["metadata"]["name"], "good");
            prop_assert_eq!(&read["items"][0]["metadata"]["name"], "deep");
        }
    }
}
