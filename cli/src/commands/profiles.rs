//! `trilobite profiles`: AppProfiles of the cluster, however they were made, with their state and how to fetch each; with
//! --socket, the profiles that one agent has.

use std::io::Write;

use jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt, api::ListParams};
use serde::Serialize;
use trilobite_api::profiles::{self, ListProfilesRequest, Profile, profiles_client::ProfilesClient};
use trilobite_crds::{
    AppProfile,
    condition::{ConditionStatus, ConditionType, find},
};

use super::{
    agents::connect,
    failure::Failure,
    print::{as_json, as_yaml, print_line},
};
use crate::{
    agent::{AgentError, Transport, within_timeout},
    args::{OutputFormat, ProfilesArgs, own_command},
    cluster::{ClusterError, app_profiles},
    output::{paint::Paint, stderr::stderr_line, table::painted_table},
    read_api::{ProfileState, ReadApi},
};

/// How long nodes keep results.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProfileEntry {
    namespace: String,
    name: String,
    state: String,
    samples: u64,
    lost: u64,
    /// Nodes with a result.
    nodes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
    /// The command that fetches the result; none where there is none and will be none.
    #[serde(skip_serializing_if = "Option::is_none")]
    fetch: Option<String>,
}

pub(super) async fn print_profiles(
    arguments: &ProfilesArgs,
    transport: &Transport,
    api: Option<&ReadApi>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let now = Timestamp::now();
    let (mut entries, searched) = match transport {
        Transport::Socket(address) => (local_profiles(transport).await?, format!("the agent on {}", address.name)),
        Transport::Cluster { client, namespace: trilobite_namespace } => {
            let namespace = arguments.namespace.as_deref().unwrap_or_else(|| client.default_namespace());
            let namespace = (!arguments.all_namespaces).then_some(namespace);
            let (objects, searched) = app_profiles(client, namespace);
            let listed = objects.list(&ListParams::default()).await;
            let listed = listed
                .map_err(|error| ClusterError::new(format!("list appprofiles of {searched}"), "appprofiles", error))?;
            let mut entries: Vec<ProfileEntry> =
                listed.items.iter().map(|profile| entry(profile, trilobite_namespace, now)).collect();
            if let Some(api) = api {
                match api.profiles(namespace).await {
                    Ok(states) => add_counts(&mut entries, &states),
                    Err(error) => stderr_line!("warning: samples are those of the last status: {error}"),
                }
            }
            (entries, searched)
        }
    };
    entries.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    match arguments.output {
        OutputFormat::Json => return print_line(out, &as_json(&entries)?),
        OutputFormat::Yaml => return print_line(out, &as_yaml(&entries)?),
        OutputFormat::Table | OutputFormat::Wide => {}
    }
    if entries.is_empty() {
        stderr_line!("no AppProfile in {searched}; -A lists all namespaces");
        return Ok(());
    }
    let text = as_table(&entries, arguments.output == OutputFormat::Wide, Paint(arguments.color.is_on()), now);
    out.write_all(text.as_bytes()).map_err(Failure::Write)?;
    if let Some(fetch) = entries.iter().find_map(|entry| entry.fetch.as_deref()) {
        stderr_line!("fetch a result: {fetch}");
    }
    Ok(())
}

/// What the agents have counted since the status was written.
fn add_counts(entries: &mut [ProfileEntry], states: &[ProfileState]) {
    for entry in entries {
        let name = format!("{}/{}", entry.namespace, entry.name);
        if let Some(state) = states.iter().find(|state| state.name == name) {
            entry.samples = entry.samples.max(state.samples);
            entry.lost = entry.lost.max(state.lost);
        }
    }
}

fn entry(profile: &AppProfile, trilobite_namespace: &str, now: Timestamp) -> ProfileEntry {
    let status = profile.status.clone().unwrap_or_default();
    let conditions = &status.common.conditions;
    let holds = |kind, wanted| find(conditions, kind).filter(|condition| condition.status == wanted);
    let results = status.results.unwrap_or_default();
    let (state, fetchable) = if let Some(refused) = holds(ConditionType::Accepted, ConditionStatus::False) {
        (format!("Refused ({})", refused.reason), false)
    } else if let Some(completed) = holds(ConditionType::Completed, ConditionStatus::True) {
        match (results.nodes, now.duration_since(completed.last_transition_time) > KEPT) {
            (0, _) => (format!("Completed without a result ({})", completed.reason), false),
            (_, true) => ("Completed, result deleted".to_owned(), false),
            (_, false) => ("Completed".to_owned(), true),
        }
    } else {
        match status.expires_at {
            None => ("Pending".to_owned(), true),
            Some(end) if end > now => (format!("Running, {} s left", end.duration_since(now).as_secs()), true),
            Some(_) => ("Running, writing results".to_owned(), true),
        }
    };
    let (namespace, name) = (profile.namespace().unwrap_or_default(), profile.name_any());
    let count = |count: i64| u64::try_from(count).unwrap_or_default();
    ProfileEntry {
        fetch: fetchable.then(|| own_command(&fetch_command(&namespace, &name), trilobite_namespace)),
        namespace,
        name,
        state,
        samples: count(results.samples),
        lost: count(results.lost),
        nodes: count(results.nodes.into()),
        created: profile.creation_timestamp().map(|time| time.0),
    }
}

fn fetch_command(namespace: &str, name: &str) -> String {
    format!("profile --name {namespace}/{name} -o {name}.svg")
}

async fn local_profiles(transport: &Transport) -> Result<Vec<ProfileEntry>, Failure> {
    let mut entries = Vec::new();
    for agent in connect(transport, None).await? {
        let listed = within_timeout(ProfilesClient::new(agent.channel).list(ListProfilesRequest {})).await;
        let listed = listed.map_err(|status| AgentError::refused(&agent.name, "Profiles/List", &status))?;
        entries.extend(listed.into_inner().profiles.iter().map(|profile| local_entry(profile, &agent.name)));
    }
    Ok(entries)
}

fn local_entry(profile: &Profile, socket: &str) -> ProfileEntry {
    let (namespace, name) = profile.name.split_once('/').unwrap_or(("", &profile.name));
    let (state, fetchable) = match profile.state() {
        profiles::ProfileState::Running => ("Running".to_owned(), true),
        profiles::ProfileState::Done => ("Completed".to_owned(), true),
        profiles::ProfileState::Failed => (format!("Failed: {}", profile.problem), false),
        profiles::ProfileState::Unspecified => ("Unknown".to_owned(), false),
    };
    let fetch = || format!("trilobite --socket {socket} {}", fetch_command(namespace, name));
    ProfileEntry {
        namespace: namespace.into(),
        name: name.into(),
        state,
        samples: profile.samples,
        lost: profile.lost,
        nodes: 1,
        created: profile.started.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()),
        fetch: fetchable.then(fetch),
    }
}

fn as_table(entries: &[ProfileEntry], wide: bool, paint: Paint, now: Timestamp) -> String {
    let rows: Vec<[String; 8]> = entries
        .iter()
        .map(|entry| {
            [
                entry.namespace.clone(),
                entry.name.clone(),
                entry.state.clone(),
                entry.samples.to_string(),
                entry.lost.to_string(),
                entry.nodes.to_string(),
                entry.created.map_or_else(|| "-".into(), |created| age(now.duration_since(created))),
                entry.fetch.clone().unwrap_or_else(|| "-".into()),
            ]
        })
        .collect();
    let header = ["NAMESPACE", "NAME", "STATE", "SAMPLES", "LOST", "NODES", "AGE", "FETCH"];
    let color = |column: usize, cell: &str| match column {
        2 if cell.starts_with("Completed") && !cell.contains("without") => paint.green(cell),
        2 if cell.starts_with("Refused") || cell.starts_with("Failed") => paint.red(cell),
        2 => paint.yellow(cell),
        _ => cell.to_owned(),
    };
    if wide {
        return painted_table(header, &rows, color);
    }
    let narrow: Vec<[String; 7]> = rows.into_iter().map(|[a, b, c, d, e, f, g, _]| [a, b, c, d, e, f, g]).collect();
    let [a, b, c, d, e, f, g, _] = header;
    painted_table([a, b, c, d, e, f, g], &narrow, color)
}

/// As kubectl shows ages.
fn age(since: SignedDuration) -> String {
    match since.as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{agent::fake::FakeAgent, args::DEFAULT_NAMESPACE};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn listed(status: &str, now: i64) -> ProfileEntry {
        let text = format!(
            "{{metadata: {{name: slow, namespace: shop}}, spec: {{podSelector: {{}}, cpu: {{}}}}, status: {status}}}"
        );
        entry(&serde_yaml::from_str(&text).unwrap(), DEFAULT_NAMESPACE, at(now))
    }

    fn condition(kind: &str, status: &str, reason: &str) -> String {
        format!(
            "{{type: {kind}, status: \"{status}\", reason: {reason}, message: why, lastTransitionTime: \"1970-01-01T00:00:00Z\"}}"
        )
    }

    #[test]
    fn state_says_whether_there_is_something_to_fetch() {
        let fetch = Some("trilobite profile --name shop/slow -o slow.svg".to_owned());
        let completed = condition("Completed", "True", "DurationElapsed");
        let done = format!("{{conditions: [{completed}], results: {{samples: 7, lost: 1, nodes: 1}}}}");
        for (status, now, state, fetch) in [
            ("{}", 5, "Pending", fetch.clone()),
            (r#"{expiresAt: "1970-01-01T00:00:40Z"}"#, 28, "Running, 12 s left", fetch.clone()),
            (r#"{expiresAt: "1970-01-01T00:00:40Z"}"#, 41, "Running, writing results", fetch.clone()),
            (&done, 60, "Completed", fetch),
            (&done, 3601, "Completed, result deleted", None),
            (&format!("{{conditions: [{completed}]}}"), 60, "Completed without a result (DurationElapsed)", None),
            (
                &format!("{{conditions: [{}]}}", condition("Accepted", "False", "LayerDisabled")),
                5,
                "Refused (LayerDisabled)",
                None,
            ),
        ] {
            let entry = listed(status, now);
            assert_eq!((entry.state.as_str(), entry.fetch), (state, fetch), "{status}");
        }
        assert_eq!((listed(&done, 60).samples, listed(&done, 60).lost), (7, 1));
    }

    #[test]
    fn counts_of_the_agents_are_newer_than_the_status() {
        let mut entries = [listed("{results: {samples: 7, lost: 1, nodes: 1}}", 5)];
        let state = |name: &str, samples| ProfileState { name: name.into(), samples, ..ProfileState::default() };
        add_counts(&mut entries, &[state("bank/slow", 99), state("shop/slow", 9)]);
        assert_eq!((entries[0].samples, entries[0].lost), (9, 1));
    }

    #[test]
    fn ages_have_the_form_of_kubectl() {
        for (seconds, text) in [(7, "7s"), (150, "2m"), (7300, "2h"), (200_000, "2d"), (-3, "0s")] {
            assert_eq!(age(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[tokio::test]
    async fn profiles_of_a_local_agent_are_listed() {
        let agent = FakeAgent::with_profile("main 1\n", 42);
        let mut out = Vec::new();
        print_profiles(&ProfilesArgs::default(), &agent.transport(), None, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("NAMESPACE  NAME    STATE      SAMPLES"), "{text}");
        assert!(text.contains("shop       till-1  Completed  42"), "{text}");
    }
}
