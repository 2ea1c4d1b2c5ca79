//! Why there are no rows, in the words of the AppProfiles that ask for them.

use kube::{Client, ResourceExt, api::ListParams};
use trilobite_crds::{
    AppProfile, UserKind,
    condition::{ConditionStatus, ConditionType, find},
};
use trilobite_untrusted_text::escape;

use crate::{
    cluster::{ClusterError, app_profiles},
    output::stderr::stderr_line,
};

/// AppProfiles that are named.
const NAMED_MAX: usize = 5;

/// Says on standard error what the AppProfiles of the namespace, or of the cluster, say.
pub(super) async fn explain_no_rows(client: &Client, namespace: Option<&str>) {
    let (profiles, searched) = app_profiles(client, namespace);
    stderr_line!("no request matches in {searched}");
    match profiles.list(&ListParams::default()).await {
        Ok(listed) => explanations(&listed.items, namespace).iter().for_each(|line| stderr_line!("{line}")),
        Err(error) => {
            let doing = format!("list appprofiles in {searched}, which say why");
            stderr_line!("warning: {}", ClusterError::new(doing, "appprofiles", error));
        }
    }
}

fn explanations(profiles: &[AppProfile], namespace: Option<&str>) -> Vec<String> {
    let asking: Vec<&AppProfile> = profiles.iter().filter(|profile| profile.spec.requests.is_some()).collect();
    if asking.is_empty() {
        let namespace = namespace.unwrap_or("NAMESPACE");
        return vec![format!(
            "no AppProfile asks for requests; e.g. kubectl label namespace {namespace} trilobite.dev/app-profile=http.15m"
        )];
    }
    let mut lines: Vec<String> = asking.iter().take(NAMED_MAX).map(|profile| explanation(profile)).collect();
    if asking.len() > NAMED_MAX {
        lines.push(format!("and {} more AppProfiles: kubectl get appprofiles", asking.len() - NAMED_MAX));
    }
    lines
}

fn explanation(profile: &AppProfile) -> String {
    let name = format!("AppProfile {}/{}", profile.namespace().unwrap_or_default(), profile.name_any());
    let conditions = profile.common_status().map_or(&[][..], |status| &status.conditions);
    let said =
        |kind| find(conditions, kind).map(|one| (one.status, format!("{}: {}", one.reason, escape(&one.message))));
    if let Some((ConditionStatus::False, why)) = said(ConditionType::Accepted) {
        return format!("{name}: {why}");
    }
    match said(ConditionType::RowsSeen) {
        Some((ConditionStatus::True, _)) => {
            format!(
                "{name} has rows, and what was asked for leaves none of them: widen --since, --pod or --slower-than"
            )
        }
        Some((_, why)) => format!("{name}: {why}"),
        None => format!("{name}: no node has reported yet"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn profile(name: &str, spec: Value, conditions: &[(&str, &str, &str, &str)]) -> AppProfile {
        let condition = |(kind, status, reason, message): &(&str, &str, &str, &str)| {
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                   "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let conditions: Vec<Value> = conditions.iter().map(condition).collect();
        serde_json::from_value(json!({
            "apiVersion": "trilobite.dev/v1alpha1", "kind": "AppProfile",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec, "status": {"conditions": conditions}
        }))
        .unwrap()
    }

    #[test]
    fn appprofile_says_why_there_are_no_rows() {
        let requests = || json!({"podSelector": {}, "requests": {}});
        let refused = ("Accepted", "False", "PayloadsNotAllowed", "spec.requests.payload: the stack does not allow it");
        let quiet = ("RowsSeen", "False", "NoTraffic", "the 2 pods have no connection");
        let seen = ("RowsSeen", "True", "RowsSeen", "812 rows");
        let profiles = [
            profile("one", requests(), &[refused]),
            profile("two", requests(), &[quiet]),
            profile("three", requests(), &[seen]),
            profile("four", requests(), &[]),
            profile("cpu-alone", json!({"podSelector": {}, "cpu": {}}), &[]),
        ];
        assert_eq!(
            explanations(&profiles, Some("shop")),
            [
                "AppProfile shop/one: PayloadsNotAllowed: spec.requests.payload: the stack does not allow it",
                "AppProfile shop/two: NoTraffic: the 2 pods have no connection",
                "AppProfile shop/three has rows, and what was asked for leaves none of them: widen --since, --pod or --slower-than",
                "AppProfile shop/four: no node has reported yet",
            ]
        );
        assert_eq!(
            explanations(&profiles[4..], Some("shop")),
            ["no AppProfile asks for requests; e.g. kubectl label namespace shop trilobite.dev/app-profile=http.15m"]
        );
        let many: Vec<AppProfile> = (0..8).map(|at| profile(&format!("p{at}"), requests(), &[])).collect();
        assert_eq!(explanations(&many, None).last().unwrap(), "and 3 more AppProfiles: kubectl get appprofiles");
    }
}
