//! `trilobite profiles`, and `trilobite profile` of a pod and of an AppProfile that exists.

use std::{fs, thread, time::Duration};

use serde_json::{Value, json};

use crate::api_server::{TestCluster, completed};

/// One node, whose agent has a result for any profile, and pod shop/till-1 on it.
fn cluster() -> TestCluster {
    let cluster = TestCluster::new(&["alder"]);
    {
        let mut answers = cluster.agents["alder"].lock();
        (answers.folded, answers.samples) = ("main;dig 42\n", 42);
    }
    cluster.add(
        "pods",
        json!({"metadata": {"name": "till-1", "namespace": "shop", "labels": {"app": "till"}},
               "spec": {"nodeName": "alder", "containers": []}, "status": {"phase": "Running"}}),
    );
    cluster
}

fn app_profile(namespace: &str, name: &str, status: Value) -> Value {
    json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "AppProfile",
           "metadata": {"name": name, "namespace": namespace, "creationTimestamp": jiff::Timestamp::now().to_string()},
           "spec": {"podSelector": {"matchLabels": {"app": "till"}}, "cpu": {}}, "status": status})
}

/// Sampling for another minute.
fn sampling() -> Value {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    json!({"expiresAt": end.to_string(), "observedGeneration": 1, "results": {"nodes": 1, "samples": 7}})
}

#[test]
fn profiles_of_one_or_all_namespaces_are_listed() {
    let cluster = cluster();
    cluster.add("appprofiles", app_profile("shop", "slow", completed()));
    cluster.add("appprofiles", app_profile("bank", "vault", sampling()));
    let here = cluster.execute(&["profiles"]);
    assert_eq!(here.code, Some(0), "{}", here.err);
    assert!(here.out.contains("slow") && !here.out.contains("vault"), "the context's namespace is shop: {}", here.out);
    assert!(here.err.contains("trilobite profile --name shop/slow"), "{}", here.err);
    let there = cluster.execute(&["profiles", "-n", "bank"]).out;
    assert!(there.contains("vault") && there.contains("Running, "), "{there}");
    let all: Value = serde_json::from_str(&cluster.execute(&["profiles", "-A", "-o", "json"]).out).unwrap();
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["vault", "slow"]);
    assert_eq!(all[1]["fetch"], "trilobite profile --name shop/slow -o slow.svg");
    let wide = cluster.execute(&["profiles", "-A", "-o", "wide", "--trilobite-namespace", "fossils"]).out;
    assert!(wide.contains("--name bank/vault -o vault.svg --trilobite-namespace fossils"), "{wide}");
}

#[test]
fn result_of_an_existing_profile_is_fetched_and_the_profile_stays() {
    let cluster = cluster();
    cluster.add("appprofiles", app_profile("shop", "slow", completed()));
    for words in [vec!["profile", "--name", "shop/slow"], vec!["profile", "-n", "shop", "--name", "slow"]] {
        let svg = cluster.folder.path().join("slow.svg");
        let outcome = cluster.execute(&[words.as_slice(), &["-o", svg.to_str().unwrap()]].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
        assert!(fs::read_to_string(&svg).unwrap().contains("dig"), "the flame graph has no frame");
        fs::remove_file(&svg).unwrap();
    }
    assert_eq!(cluster.count("appprofiles"), 1);
}

#[test]
fn profile_that_still_runs_is_waited_for() {
    let cluster = cluster();
    cluster.add("appprofiles", app_profile("shop", "slow", sampling()));
    let svg = cluster.folder.path().join("slow.svg");
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(1500));
            cluster.replace("appprofiles", app_profile("shop", "slow", completed()));
        });
        cluster.execute(&["profile", "--name", "shop/slow", "-o", svg.to_str().unwrap()])
    });
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(outcome.err.contains("7 samples"), "no progress was shown: {}", outcome.err);
    assert!(svg.exists());
}

#[test]
fn profile_that_does_not_exist_says_how_to_list_them() {
    let outcome = cluster().execute(&["profile", "--name", "shop/slow"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("no appprofile shop/slow; see 'trilobite profiles -n shop'"), "{}", outcome.err);
}

#[test]
fn missing_rights_are_named_before_anything_is_sampled() {
    for (right, said) in [
        ("create pods/exec", "create pods/exec in namespace trilobite-system"),
        ("create appprofiles", "create appprofiles.trilobite.dev in namespace shop"),
        ("list pods", "list pods in namespace shop"),
    ] {
        let cluster = cluster();
        cluster.deny(right);
        let outcome = cluster.execute(&["profile", "shop/till-1", "--for", "1s"]);
        assert_eq!(outcome.code, Some(1), "{right}");
        assert!(outcome.err.contains(said), "{right}: {}", outcome.err);
        let created =
            cluster.requests().iter().any(|request| request.starts_with("POST") && request.ends_with("appprofiles"));
        assert!(!created, "{right}: an AppProfile was created");
    }
}

#[test]
fn missing_rights_are_named_before_a_result_is_waited_for() {
    let cluster = cluster();
    cluster.add("appprofiles", app_profile("shop", "slow", sampling()));
    cluster.deny("create pods/exec");
    let outcome = cluster.execute(&["profile", "--name", "shop/slow"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("fetching the result of appprofile shop/slow needs rights"), "{}", outcome.err);
    assert!(outcome.err.contains("create pods/exec in namespace trilobite-system"), "{}", outcome.err);
}

#[test]
fn pod_is_given_as_kubectl_takes_it() {
    for words in [
        vec!["profile", "-n", "shop", "till-1"],
        vec!["profile", "till-1", "--namespace", "shop"],
        vec!["profile", "till-1"],
        vec!["profile", "shop/till-1"],
    ] {
        let cluster = cluster();
        let svg = cluster.folder.path().join("flame.svg");
        let outcome = cluster.execute(&[words.as_slice(), &["--for", "1s", "-o", svg.to_str().unwrap()]].concat());
        assert_eq!(outcome.code, Some(0), "{words:?}: {}", outcome.err);
        assert!(svg.exists(), "{words:?}");
        let requests = cluster.requests();
        let path = "/apis/trilobite.dev/v1alpha1/namespaces/shop/appprofiles";
        assert!(requests.contains(&format!("POST {path}")), "{words:?}: {requests:?}");
        assert_eq!(cluster.count("appprofiles"), 0, "{words:?}: the AppProfile was left behind");
    }
}
