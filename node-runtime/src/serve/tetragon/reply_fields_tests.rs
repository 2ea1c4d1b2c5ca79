//! Each field of a reply has a value in some sample, or stands in the documented list of what this agent never sets.

use std::sync::Arc;

use prost::Message;
use tokio::sync::watch;
use trilobite_api::{read_scope::ReadScope, tetragon as api};

use super::{policies, samples};
use crate::{layers::security::SecurityEventKind, serve::message_fields::assert_set_or_documented};

/// Replies with all that they can have.
fn replies() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let encoder = samples::encoder();
    let info = samples::agent_info("v1", watch::channel(Some("a problem".to_owned())).1);
    let request = api::ListTracingPoliciesRequest::default();
    let debug = |flag| info.debug(&api::GetDebugRequest { flag, arg: None }, &encoder).unwrap();
    let process = api::ProcessInternal {
        process: Some(encoder.process_message(&samples::exec().process)),
        ..api::ProcessInternal::default()
    };
    let dump = api::get_debug_response::Arg::Processes(api::DumpProcessCacheResArgs { processes: vec![process] });
    let mut events: Vec<_> = samples::events();
    for event in &mut events {
        let process = Arc::make_mut(&mut event.process.process);
        process.credentials.inheritable = 1;
        if let Some(place) = &mut event.process.pod {
            Arc::make_mut(place).container.as_mut().unwrap().privileged = true;
        }
        event.ancestors = vec![event.process.clone()];
        if let SecurityEventKind::Hook(hook) = &mut event.kind {
            hook.suppressed = 1;
        }
    }
    let now = jiff::Timestamp::UNIX_EPOCH;
    let mut messages: Vec<_> = events.iter().map(|event| encoder.message_with(event, true)).collect();
    messages.push(encoder.rate_limit_info(3, now));
    messages.push(encoder.loss_notice(crate::loss::LossPoint::PolicyRing, 3, now));
    let encoded = |message: &dyn Fn() -> Vec<u8>| vec![message()];
    vec![
        (".tetragon.GetVersionResponse", encoded(&|| info.version().encode_to_vec())),
        (".tetragon.GetInfoResponse", encoded(&|| info.info(&encoder).encode_to_vec())),
        (".tetragon.GetHealthStatusResponse", encoded(&|| info.health(true).encode_to_vec())),
        (
            ".tetragon.GetDebugResponse",
            vec![debug(0).encode_to_vec(), api::GetDebugResponse { flag: 1, arg: Some(dump) }.encode_to_vec()],
        ),
        (
            ".tetragon.ListTracingPoliciesResponse",
            encoded(&|| {
                policies::list_policies(&policies::tests::reports(), &request, &ReadScope::Everything).encode_to_vec()
            }),
        ),
        (".tetragon.GetEventsResponse", messages.iter().map(Message::encode_to_vec).collect()),
    ]
}

#[test]
fn each_field_of_a_reply_is_set_or_documented() {
    assert_set_or_documented("# Which fields of Tetragon's replies are never set?", &replies());
}
