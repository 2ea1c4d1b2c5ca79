//! The permissions of an agent's token. All tests here run the operator with the permissions of its ServiceAccount.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use trilobite_crds::{TracingPolicy, node::NodeRuntime};

use crate::{
    fake_agent::Behaviour,
    test_cluster::{NAMESPACE, STACK, eventually, stack, with_test_cluster},
};

async fn write_status(agent: &Client, node: &str) -> Result<(), String> {
    let status =
        json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "NodeRuntime", "status": {"agentVersion": "by-token"}});
    let params = PatchParams::apply("by-token").force();
    let runtimes: Api<NodeRuntime> = Api::all(agent.clone());
    error_text(runtimes.patch_status(node, &params, &Patch::Apply(&status)).await)
}

fn error_text<T>(result: Result<T, kube::Error>) -> Result<(), String> {
    result.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn an_agents_token_writes_only_the_status_of_its_own_node() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.node("reef-2", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{}"));
        cluster.condition(STACK, "Ready", "True", "Ready").await;
        let on_reef_1 = [
            "-n",
            NAMESPACE,
            "get",
            "pods",
            "--field-selector=spec.nodeName=reef-1",
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ];
        let pod = cluster.kubectl(&on_reef_1);
        // Like the kubelet's token requests; the API server adds the node's name to the token.
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
        let agent = cluster.with_token(&cluster.kubectl(&bound)).await;

        let denied =
            eventually("the admission policy is active", 20, async || match write_status(&agent, "reef-2").await {
                Ok(()) => Err("the write was accepted".to_owned()),
                Err(error) => Ok(error),
            })
            .await;
        assert!(denied.contains("must not write NodeRuntime reef-2"), "{denied}");
        write_status(&agent, "reef-1").await.unwrap();

        let runtimes: Api<NodeRuntime> = Api::all(agent.clone());
        let spec = Patch::Merge(json!({"spec": {"sessions": []}}));
        let all = ListParams::default();
        for denied in [
            error_text(runtimes.delete("reef-1", &DeleteParams::default()).await),
            error_text(runtimes.patch("reef-1", &PatchParams::default(), &spec).await),
            error_text(Api::<TracingPolicy>::all(agent.clone()).list(&all).await),
            error_text(Api::<Secret>::all(agent.clone()).list(&all).await),
        ] {
            let error = denied.expect_err("an agent has no such permission");
            assert!(error.contains("forbidden"), "{error}");
        }
    });
}
