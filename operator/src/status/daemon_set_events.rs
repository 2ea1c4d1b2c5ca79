//! Why the API server refuses the agents' pods: the DaemonSet controller reports it only as an Event.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::runtime::watcher;

use super::facts::PodsRefused;
use crate::labels::DAEMON_SET;

/// Selects the Events about pods that could not be created.
pub(super) fn watch_config() -> watcher::Config {
    let fields = format!("involvedObject.kind=DaemonSet,involvedObject.name={DAEMON_SET},reason=FailedCreate");
    watcher::Config::default().fields(&fields)
}

/// The cause, and when it was reported.
pub(super) fn pod_refusal(event: &Event) -> Option<(PodsRefused, Timestamp)> {
    let message = event.message.as_deref()?;
    let why = match message.split_once("violates PodSecurity ") {
        Some((_, why)) => PodsRefused::BySecurity(why.to_owned()),
        None => PodsRefused::Otherwise(strip_common_prefix(message).to_owned()),
    };
    let at = event.last_timestamp.as_ref().map(|time| time.0);
    let at = at.or(event.event_time.as_ref().map(|time| time.0)).or(event
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0));
    Some((why, at?))
}

/// Drops the prefix that all of these messages have.
fn strip_common_prefix(message: &str) -> &str {
    let message = message.strip_prefix("Error creating: ").unwrap_or(message);
    message.split_once(" is forbidden: ").map_or(message, |(_, why)| why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_security_is_distinguished_from_other_refusals() {
        let parse = |message: &str| {
            let mut event = Event { message: Some(message.into()), ..Event::default() };
            event.metadata.creation_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
            pod_refusal(&event).map(|(why, _)| why)
        };
        let forbidden = r#"Error creating: pods "trilobite-node-" is forbidden: violates PodSecurity "baseline:latest": host namespaces"#;
        assert_eq!(parse(forbidden), Some(PodsRefused::BySecurity(r#""baseline:latest": host namespaces"#.into())));
        let quota = r#"Error creating: pods "trilobite-node-" is forbidden: exceeded quota: pods=10"#;
        assert_eq!(parse(quota), Some(PodsRefused::Otherwise("exceeded quota: pods=10".into())));
        assert_eq!(parse("Error creating: timed out"), Some(PodsRefused::Otherwise("timed out".into())));
    }
}
