//! Why the API server refuses the agents' pods: the DaemonSet controller says it in an Event and nowhere else.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::runtime::watcher;

use crate::children::DAEMON_SET;

/// Selects the Events that matter.
pub(super) fn config() -> watcher::Config {
    let fields = format!("involvedObject.kind=DaemonSet,involvedObject.name={DAEMON_SET},reason=FailedCreate");
    watcher::Config::default().fields(&fields)
}

/// What Pod Security says, and when; none for another failure.
pub(super) fn forbidden(event: &Event) -> Option<(String, Timestamp)> {
    let message = event.message.as_deref()?;
    let (_, why) = message.split_once("violates PodSecurity ")?;
    let at = event.last_timestamp.as_ref().map(|time| time.0);
    let at = at.or(event.event_time.as_ref().map(|time| time.0)).or(event
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0));
    Some((why.to_owned(), at?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_pod_security_forbids_is_taken_for_that() {
        let said = |message: &str| {
            let mut event = Event { message: Some(message.into()), ..Event::default() };
            event.metadata.creation_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
            forbidden(&event).map(|(why, _)| why)
        };
        let forbidden = r#"Error creating: pods "trilobite-node-" is forbidden: violates PodSecurity "baseline:latest": host namespaces"#;
        assert_eq!(said(forbidden), Some(r#""baseline:latest": host namespaces"#.into()));
        assert_eq!(said("Error creating: pods is forbidden: exceeded quota"), None);
    }
}
