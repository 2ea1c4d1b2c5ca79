//! What an agent's token may do, and what it may not. (The operator's rights are those with which all these tests run it.)

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use trilobite_crds::{TracingPolicy, node::NodeRuntime};

use crate::{
    fake_agent::Behaviour,
    world::{NAMESPACE, STACK, eventually, in_a_world, stack},
};

async fn writes(agent: &Client, node: &str) -> Result<(), String> {
    let status =
        json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "NodeRuntime", "status": {"agentVersion": "by-token"}});
    let params = PatchParams::apply("by-token").force();
    let runtimes: Api<NodeRuntime> = Api::all(agent.clone());
    said(runtimes.patch_status(node, &params, &Patch::Apply(&status)).await)
}

fn said<T>(result: Result<T, kube::Error>) -> Result<(), String> {
    result.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn an_agents_token_writes_the_status_of_its_own_node_and_of_no_other() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        world.node("reef-2", Behaviour::default()).await;
        world.operator();
        world.apply(&stack("{}"));
        world.condition(STACK, "Ready", "True", "Ready").await;
        let on_reef_1 = [
            "-n",
            NAMESPACE,
            "get",
            "pods",
            "--field-selector=spec.nodeName=reef-1",
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ];
        let pod = world.kubectl(&on_reef_1);
        // As the kubelet asks for it: the API server adds the node's name by itself.
        let bound = [
            "-n",
            NAMESPACE,
            "create",
            "token",
            "trilobite-node",
            "--bound-object-kind=Pod",
            "--bound-object-name",
            &pod,
        ];
        let agent = world.with_token(&world.kubectl(&bound)).await;

        let denied = eventually("the policy is in force", 20, async || match writes(&agent, "reef-2").await {
            Ok(()) => Err("it was let through".to_owned()),
            Err(said) => Ok(said),
        })
        .await;
        assert!(denied.contains("must not write NodeRuntime reef-2"), "{denied}");
        writes(&agent, "reef-1").await.unwrap();

        let runtimes: Api<NodeRuntime> = Api::all(agent.clone());
        let spec = Patch::Merge(json!({"spec": {"sessions": []}}));
        let all = ListParams::default();
        for denied in [
            said(runtimes.delete("reef-1", &DeleteParams::default()).await),
            said(runtimes.patch("reef-1", &PatchParams::default(), &spec).await),
            said(Api::<TracingPolicy>::all(agent.clone()).list(&all).await),
            said(Api::<Secret>::all(agent.clone()).list(&all).await),
        ] {
            let said = denied.expect_err("an agent has no such right");
            assert!(said.contains("forbidden"), "{said}");
        }
    });
}
