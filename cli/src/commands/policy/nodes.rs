//! Asks every node's agent, by dry runs, a batch at a time.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use kube::Client;
use tokio::time::{Instant, sleep};

use super::{
    dry_run::{CheckedPolicy, DryRun},
    verdict::Verdict,
};
use crate::{
    cluster::ClusterError,
    commands::{
        failure::Failure,
        interrupt::Interrupts,
        rights::{Right, require_rights},
    },
    output::stderr::stderr_line,
};

/// Policies that are asked about at once: an eighth of what a NodeProfile holds.
const BATCH: usize = 64;
/// An agent's status names 20 problems. Those of a larger batch whose reason was not among them are asked again.
const SMALL_BATCH: usize = 10;
/// Requests to the API server at once.
const AT_ONCE: usize = 8;
/// Interval of reading the dry runs.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// One verdict for each policy, in their order. Every dry run is deleted, also after an interrupt.
pub(super) async fn ask_nodes(
    client: &Client,
    policies: Vec<CheckedPolicy>,
    timeout: Duration,
) -> Result<Vec<Verdict>, Failure> {
    let mut interrupts = Interrupts::listen();
    let mut verdicts = Vec::new();
    let all = policies.len();
    for batch in policies.chunks(BATCH) {
        if all > BATCH {
            stderr_line!("asking the nodes: {} of {all} answered", verdicts.len());
        }
        let mut answers = ask_batch(client, batch, timeout, &mut interrupts).await?;
        let again: Vec<usize> = (0..batch.len()).filter(|index| answers[*index].is_unnamed()).collect();
        for indices in again.chunks(SMALL_BATCH) {
            let policies: Vec<CheckedPolicy> = indices.iter().map(|index| batch[*index].clone()).collect();
            let named = ask_batch(client, &policies, timeout, &mut interrupts).await?;
            indices.iter().zip(named).for_each(|(index, verdict)| answers[*index] = verdict);
        }
        verdicts.extend(answers);
    }
    Ok(verdicts)
}

async fn ask_batch(
    client: &Client,
    batch: &[CheckedPolicy],
    timeout: Duration,
    interrupts: &mut Interrupts,
) -> Result<Vec<Verdict>, Failure> {
    let now = Timestamp::now();
    let copies: Vec<DryRun> = batch.iter().map(|policy| DryRun::new(policy, now)).collect();
    let mut verdicts = vec![None; batch.len()];
    if let Err(error) = require_all_rights(client, batch).await {
        let why = error.to_string();
        return Ok(batch.iter().map(|policy| Verdict::not_asked(policy.to_string(), &why)).collect());
    }
    // Not interruptible: a request that is on its way to the API server cannot be taken back.
    for (begin, part) in copies.chunks(AT_ONCE).enumerate().map(|(number, part)| (number * AT_ONCE, part)) {
        let created = join_all(part.iter().map(|copy| copy.create(client))).await;
        for (index, created) in (begin..).zip(created) {
            let name = || batch[index].to_string();
            verdicts[index] = created.err().map(|error| not_created(name(), &error));
        }
    }
    let waited = tokio::select! {
        () = wait_for_answers(client, batch, &copies, &mut verdicts, timeout) => Ok(()),
        () = interrupts.received() => Err(Failure::Interrupted),
    };
    for part in copies.chunks(AT_ONCE) {
        join_all(part.iter().map(|copy| copy.delete(client))).await;
    }
    waited?;
    Ok(verdicts.into_iter().flatten().collect())
}

/// The API server checks an object as well; anything else is no answer about the policy.
fn not_created(name: String, error: &ClusterError) -> Verdict {
    match error {
        ClusterError::Api { detail, .. } if detail.contains("is invalid") => {
            Verdict::refused(name, vec![format!("the API server: {detail}")])
        }
        other => Verdict::not_asked(name, &other.to_string()),
    }
}

/// Fills in a verdict for each policy that has none.
async fn wait_for_answers(
    client: &Client,
    batch: &[CheckedPolicy],
    copies: &[DryRun],
    verdicts: &mut [Option<Verdict>],
    timeout: Duration,
) {
    let deadline = Instant::now() + timeout;
    loop {
        let is_last = Instant::now() >= deadline;
        let missing: Vec<usize> = (0..batch.len()).filter(|index| verdicts[*index].is_none()).collect();
        for part in missing.chunks(AT_ONCE) {
            let read = join_all(part.iter().map(|index| copies[*index].read(client))).await;
            for (index, read) in part.iter().zip(read) {
                let name = batch[*index].to_string();
                verdicts[*index] = match read {
                    Ok(seen) => Verdict::of_status(&name, seen.generation, seen.status.as_ref())
                        .or_else(|| is_last.then(|| Verdict::of_late_nodes(&name, seen.status.as_ref()))),
                    Err(error) => is_last.then(|| Verdict::not_asked(name, &error.to_string())),
                };
            }
        }
        if is_last || verdicts.iter().all(Option::is_some) {
            return;
        }
        sleep(POLL_INTERVAL).await;
    }
}

async fn require_all_rights(client: &Client, batch: &[CheckedPolicy]) -> Result<(), ClusterError> {
    let mut places: Vec<Option<&str>> = batch.iter().map(CheckedPolicy::namespace).collect();
    places.sort_unstable();
    places.dedup();
    let verbs = ["create", "get", "delete"];
    let rights: Vec<Right> = places.iter().flat_map(|place| verbs.map(|verb| Right::policies(verb, *place))).collect();
    require_rights(client, "asking the nodes", &rights).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_of_the_api_server_is_one_of_the_policy() {
        let api = |detail: &str| ClusterError::Api { doing: "create".into(), detail: detail.into() };
        assert!(not_created("p".into(), &api("TracingPolicy.trilobite.dev \"p\" is invalid: spec")).is_refused());
        let other = not_created("p".into(), &api("etcdserver: request timed out"));
        assert!(!other.is_refused() && other.unchecked.is_some());
    }
}
