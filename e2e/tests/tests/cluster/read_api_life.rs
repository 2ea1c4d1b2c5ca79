//! The APIService lives as long as a relay answers: whatever ends the relay, namespaces are still deleted and discovery has no
//! error.

use trilobite_e2e::{
    Fixture, eventually,
    fixture::{NAMESPACE, StartOnDrop, stack_yaml},
    pods,
    read_api::{API_SERVICE, wait_until_served},
    wait::that,
};

const RELAY: &str = "app.kubernetes.io/name=trilobite-relay";
const ON: &str = "{security: {mode: Enabled}}";

fn is_registered(fixture: &Fixture) -> bool {
    fixture.kubectl.ask(&["get", "apiservice", API_SERVICE]).is_ok()
}

/// Makes a namespace, lets the relay end, and checks that the namespace can be deleted and that discovery is whole.
fn survives(fixture: &'static Fixture, what: &str, end: impl FnOnce()) {
    let name = format!("life-{what}");
    pods::namespace(&fixture.kubectl, &name);
    end();
    fixture.kubectl.run(&["delete", "namespace", &name, "--wait=true", "--timeout=60s"]);
    eventually(&format!("{what}: discovery has no error"), 60, || {
        let done = fixture.kubectl.output(&["api-resources"]);
        that(done.status.success(), String::from_utf8_lossy(&done.stderr))
    });
}

#[test]
fn relay_that_is_killed_comes_back_and_the_api_with_it() {
    let fixture = Fixture::shared();
    fixture.stack(ON);
    wait_until_served(&fixture.kubectl);
    survives(fixture, "killed", || {
        let kill = ["-n", NAMESPACE, "delete", "pod", "-l", RELAY, "--force", "--grace-period=0"];
        fixture.kubectl.run(&kill);
    });
    wait_until_served(&fixture.kubectl);
}

#[test]
fn relay_without_replicas_is_not_registered() {
    let fixture = Fixture::shared();
    fixture.stack(ON);
    wait_until_served(&fixture.kubectl);
    survives(fixture, "disabled", || {
        fixture.kubectl.apply(&stack_yaml("{security: {mode: Enabled}, relay: {mode: Disabled}}"));
        eventually("the APIService is gone", 30, || that(!is_registered(fixture), "it is there"));
    });
    fixture.stack(ON);
    wait_until_served(&fixture.kubectl);
}

#[test]
fn suspended_stack_takes_the_api_away_first() {
    let fixture = Fixture::shared();
    fixture.stack(ON);
    wait_until_served(&fixture.kubectl);
    survives(fixture, "suspended", || {
        fixture.kubectl.apply(&stack_yaml("{suspend: true, security: {mode: Enabled}}"));
        eventually("the APIService is gone", 30, || that(!is_registered(fixture), "it is there"));
    });
    fixture.stack(ON);
    wait_until_served(&fixture.kubectl);
}

#[test]
fn deleted_stack_takes_the_api_away_first() {
    let fixture = Fixture::shared();
    fixture.stack(ON);
    wait_until_served(&fixture.kubectl);
    survives(fixture, "deleted", || {
        fixture.kubectl.run(&["delete", "observabilitystack", "default", "--wait=true", "--timeout=60s"]);
        assert!(!is_registered(fixture), "the APIService outlived the stack");
    });
    fixture.stack(ON);
    wait_until_served(&fixture.kubectl);
}

/// The stack is deleted while its operator does not run, as an uninstall in the wrong order does.
#[test]
fn api_goes_away_without_an_operator() {
    let fixture = Fixture::shared();
    fixture.stack(ON);
    wait_until_served(&fixture.kubectl);
    survives(fixture, "orphaned", || {
        let scale = |replicas: &str| {
            let replicas = format!("--replicas={replicas}");
            fixture.kubectl.run(&["-n", NAMESPACE, "scale", "deployment/trilobite-operator", &replicas]);
        };
        scale("0");
        fixture.kubectl.run(&["delete", "observabilitystack", "default", "--wait=false"]);
        scale("1");
        eventually("the APIService is gone", 90, || that(!is_registered(fixture), "it is there"));
    });
    fixture.stack(ON);
    wait_until_served(&fixture.kubectl);
}

#[test]
fn api_follows_the_relay_to_another_node() {
    let fixture = Fixture::shared();
    fixture.stack(ON);
    wait_until_served(&fixture.kubectl);
    let node =
        fixture.kubectl.run(&["-n", NAMESPACE, "get", "pod", "-l", RELAY, "-o=jsonpath={.items[0].spec.nodeName}"]);
    let leaving = if node == "node1" { "node1" } else { "node2" };
    let back = StartOnDrop(fixture, leaving);
    survives(fixture, "node-away", || {
        fixture.cluster.stop(leaving).unwrap();
        // Until the node is known to be away, the APIService has no endpoint that answers.
        eventually("the APIService is gone, or another relay answers", 180, || {
            let raw = fixture.kubectl.ask(&["get", "--raw", trilobite_e2e::read_api::API]);
            that(!is_registered(fixture) || raw.is_ok(), "it is registered and does not answer")
        });
    });
    drop(back);
    fixture.ready("2/2");
    wait_until_served(&fixture.kubectl);
}
