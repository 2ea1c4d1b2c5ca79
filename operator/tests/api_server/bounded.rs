//! AppProfiles, FlowCaptures, and the label that makes an AppProfile.

use serde_json::Value;

use crate::{
    fake_agent::Behaviour,
    world::{World, condition, eventually, in_a_world, stack},
};

const HOT: &str = "/apis/trilobite.dev/v1alpha1/namespaces/payments/appprofiles/hot";

fn profile(seconds: u32) -> String {
    format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {{name: hot, namespace: payments}}\nspec: {{podSelector: {{matchLabels: {{app: till}}}}, cpu: {{}}, durationSeconds: {seconds}}}\n"
    )
}

async fn sessions(world: &World<'_>, node: &str) -> Result<Vec<Value>, String> {
    let runtime = world.get(&format!("/apis/trilobite.dev/v1alpha1/noderuntimes/{node}")).await?;
    Ok(runtime["spec"]["sessions"].as_array().cloned().unwrap_or_default())
}

async fn with_two_nodes(world: &mut World<'_>) {
    world.node("reef-1", Behaviour::default()).await;
    world.node("reef-2", Behaviour::default()).await;
    world.operator();
    world.namespace("payments").await;
    world.apply(&stack("{security: {mode: Disabled}}"));
}

#[test]
fn a_profile_reaches_only_the_node_that_runs_a_matching_pod_and_leaves_it_at_its_end() {
    in_a_world(async |mut world| {
        with_two_nodes(&mut world).await;
        world.pod("payments", "till-0", "reef-2", "till").await;
        world.pod("payments", "shelf-0", "reef-1", "shelf").await;
        world.apply(&profile(15));
        let running = world.condition(HOT, "Completed", "False", "Running").await;
        let expires = running["status"]["expiresAt"].clone();
        eventually("reef-2 has the session", 10, async || {
            let found = sessions(&world, "reef-2").await?;
            if found.len() == 1 && found[0]["expiresAt"] == expires { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        assert_eq!(sessions(&world, "reef-1").await.unwrap(), Vec::<Value>::new());
        world.condition(HOT, "Ready", "True", "Ready").await;
        let done = world.condition(HOT, "Completed", "True", "DurationElapsed").await;
        assert_eq!(done["status"]["results"], serde_json::json!({"samples": 490, "lost": 3, "nodes": 1}));
        assert_eq!(done["status"]["expiresAt"], expires);
        eventually("the session is taken", 10, async || match sessions(&world, "reef-2").await?.len() {
            0 => Ok(()),
            _ => Err("still there".into()),
        })
        .await;
        println!("{}", world.kubectl(&["-n", "payments", "describe", "appprofile", "hot"]));
        // What is over stays as it ended, also for an operator that has just come.
        world.stop_operator().await;
        world.operator();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(world.get(HOT).await.unwrap()["status"], done["status"]);
    });
}

#[test]
fn a_pod_that_comes_later_brings_the_session_to_its_node_and_deleting_the_profile_takes_it() {
    in_a_world(async |mut world| {
        with_two_nodes(&mut world).await;
        world.apply(&profile(300));
        world.condition(HOT, "Degraded", "True", "NoMatchingPods").await;
        world.pod("payments", "till-0", "reef-1", "till").await;
        eventually("reef-1 has the session", 10, async || match sessions(&world, "reef-1").await?.len() {
            1 => Ok(()),
            _ => Err("not there".into()),
        })
        .await;
        world.condition(HOT, "Ready", "True", "Ready").await;
        // Deleted while the operator is away: it finds out when it comes back.
        world.kill_operator();
        world.kubectl(&["-n", "payments", "delete", "appprofile", "hot"]);
        world.operator();
        eventually("the session is taken", 20, async || match sessions(&world, "reef-1").await?.len() {
            0 => Ok(()),
            _ => Err("still there".into()),
        })
        .await;
    });
}

#[test]
fn a_namespaces_label_makes_a_profile_and_its_removal_deletes_it() {
    in_a_world(async |mut world| {
        with_two_nodes(&mut world).await;
        let from_label = "/apis/trilobite.dev/v1alpha1/namespaces/payments/appprofiles/from-label";
        world.label("payments", Some("cpu")).await;
        let made = eventually("it is made", 10, async || world.get(from_label).await).await;
        assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "Namespace");
        assert_eq!(made["spec"]["cpu"]["frequencyHz"], 49);
        world.label("payments", None).await;
        eventually("it is deleted", 10, async || match world.get(from_label).await {
            Err(error) if error.contains("not found") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        world.label("payments", Some("http")).await;
        eventually("an Event says why", 10, async || {
            let events = world.kubectl(&["-n", "payments", "get", "events.events.k8s.io", "-o", "yaml"]);
            if events.contains("it must be cpu") { Ok(()) } else { Err(events) }
        })
        .await;
    });
}

#[test]
fn a_capture_without_a_stack_and_one_whose_layer_is_off_say_so() {
    in_a_world(async |mut world| {
        world.operator();
        world.namespace("payments").await;
        let path = "/apis/trilobite.dev/v1alpha1/namespaces/payments/flowcaptures/tills";
        world.apply("apiVersion: trilobite.dev/v1alpha1\nkind: FlowCapture\nmetadata: {name: tills, namespace: payments}\nspec: {podSelector: {}, durationSeconds: 30}\n");
        let refused = world.condition(path, "Accepted", "False", "NoStack").await;
        // Another object can heal it, so whoever waits for it waits on.
        assert_eq!(condition(&refused, "Reconciling").unwrap()["reason"], "NoStack");
        assert!(condition(&refused, "Stalled").is_none());
        world.apply(&stack("{network: {mode: Disabled}}"));
        world.condition(path, "Accepted", "False", "LayerDisabled").await;
        world.apply(&stack("{network: {mode: OnDemand}}"));
        world.condition(path, "Accepted", "True", "Valid").await;
    });
}
