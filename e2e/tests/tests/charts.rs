//! The charts, rendered by the real helm: wrong values are refused by their names, and right ones do what the README says.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{env, fs, process::Command};

use serde_json::Value;
use trilobite_cluster::{Cache, workspace_root};

/// `helm template` of a chart: the objects, or the reason why it was refused. None where helm was not built.
fn template(chart: &str, arguments: &[&str]) -> Option<Result<Vec<Value>, String>> {
    let helm = match Cache::from_environment().program("helm") {
        Ok(helm) => helm,
        Err(missing) => {
            assert!(env::var_os("TRILOBITE_REQUIRE_CLIENTS").is_none(), "{missing}");
            eprintln!("not rendered: {missing}");
            return None;
        }
    };
    let chart = workspace_root().join("charts").join(chart);
    let words = ["template", "trilobite", "--namespace", "trilobite-system"];
    let done = Command::new(helm).args(words).arg(chart).args(arguments).output().unwrap();
    if !done.status.success() {
        return Some(Err(String::from_utf8_lossy(&done.stderr).into_owned()));
    }
    let text = String::from_utf8(done.stdout).unwrap();
    let documents = text.split("\n---\n").map(|document| serde_yaml::from_str(document).unwrap());
    Some(Ok(documents.filter(|document: &Value| !document.is_null()).collect()))
}

fn rendered(arguments: &[&str]) -> Option<Vec<Value>> {
    Some(template("trilobite", arguments)?.unwrap_or_else(|refusal| panic!("{arguments:?}: {refusal}")))
}

#[track_caller]
fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn text(path: &str) -> String {
    fs::read_to_string(workspace_root().join(path)).unwrap()
}

#[test]
fn wrong_values_are_refused_by_their_names() {
    for (value, at, name) in [
        ("stack.spec.securty.mode=Enabled", "/stack/spec'", "'securty'"),
        ("stack.spec.security.mode=Sometimes", "/stack/spec/security/mode'", "'OnDemand'"),
        ("stack.spec.runtime.resources.limits.memroy=1Gi", "/stack/spec/runtime/resources/limits'", "'memroy'"),
        ("stack.spec.runtime.tolerations[0].efect=NoExecute", "/stack/spec/runtime/tolerations/0'", "'efect'"),
        ("stack.spec.export.file.maxSizeMB=10", "/stack/spec/export/file'", "'maxSizeMB'"),
        ("operator.resources.limit.memory=1Gi", "/operator/resources'", "'limit'"),
        ("operator.resources.requests.cpus=1", "/operator/resources/requests'", "'cpus'"),
        ("operator.resources.limits.memory=1GB", "/operator/resources/limits/memory'", "'1GB'"),
        ("operator.tolerations[0].toleration=Exists", "/operator/tolerations/0'", "'toleration'"),
        ("operator.affinity.nodeAfinity.x=y", "/operator/affinity'", "'nodeAfinity'"),
        ("operator.image=localhost/trilobite-operator:dev", "/operator/image'", "want object"),
        ("operator.image.digest=sha256:abc", "/operator/image/digest'", "'sha256:abc'"),
        ("node.image.repository=tools/trilobite-node:1", "/node/image/repository'", "'tools/trilobite-node:1'"),
        (r"operator.podLabels.app\.kubernetes\.io/name=x", "/operator/podLabels/app.kubernetes.io~1name'", "false"),
        ("operator.podDisruptionBudget.maxUnavailable=2", "/operator/podDisruptionBudget/maxUnavailable'", "0, 1"),
        ("node.serviceAccount.annotation.x=y", "/node/serviceAccount'", "'annotation'"),
        ("metrics.servicemonitor.create=true", "/metrics'", "'servicemonitor'"),
    ] {
        let Some(outcome) = template("trilobite", &["--set", value]) else { return };
        let refusal = outcome.expect_err(&format!("{value} was accepted"));
        assert!(refusal.contains(&format!("at '{at}")) && refusal.contains(name), "{value}: {refusal}");
    }
}

#[test]
fn what_kubernetes_accepts_is_accepted() {
    let values = [
        "operator.resources.limits.cpu=1",
        r"operator.resources.limits.nvidia\.com/gpu=1",
        "operator.tolerations[0].key=node.kubernetes.io/unreachable",
        "operator.tolerations[0].effect=NoExecute",
        "operator.tolerations[0].tolerationSeconds=30",
        "stack.create=true",
        "stack.spec.runtime.updateStrategy.maxUnavailable=2",
        r"stack.spec.runtime.nodeSelector.kubernetes\.io/arch=amd64",
        "stack.spec.security.mode=Enabled",
    ];
    let Some(objects) = rendered(&["--set", &values.join(",")]) else { return };
    assert_eq!(object(&objects, "ObservabilityStack", "default")["spec"]["security"]["mode"], "Enabled");
}

#[test]
fn a_digest_takes_precedence_over_a_tag() {
    let digest = format!("sha256:{}", "7".repeat(64));
    let with_digest = format!("operator.image.digest={digest},operator.image.registry=reef.example:5000/tools");
    for (values, operator, node) in [
        ("global.x=y", "localhost/trilobite-operator:dev".to_owned(), "localhost/trilobite-node:dev"),
        ("node.image.tag=", "localhost/trilobite-operator:dev".to_owned(), "localhost/trilobite-node:0.1.0"),
        (
            with_digest.as_str(),
            format!("reef.example:5000/tools/trilobite-operator@{digest}"),
            "localhost/trilobite-node:dev",
        ),
        ("node.image.registry=", "localhost/trilobite-operator:dev".to_owned(), "trilobite-node:dev"),
    ] {
        let Some(objects) = rendered(&["--set", values]) else { return };
        let container =
            &object(&objects, "Deployment", "trilobite-operator")["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], operator, "{values}");
        assert_eq!(container["args"][0], format!("--node-image={node}"), "{values}");
    }
}

#[test]
fn metadata_of_pods_and_service_accounts_is_set() {
    let values = "operator.podAnnotations.a=b,operator.podLabels.c=d,operator.serviceAccount.annotations.e=f,\
                  node.serviceAccount.annotations.g=h,relay.serviceAccount.annotations.i=j";
    let Some(objects) = rendered(&["--set", values]) else { return };
    let pod = &object(&objects, "Deployment", "trilobite-operator")["spec"]["template"]["metadata"];
    assert_eq!((&pod["annotations"]["a"], &pod["labels"]["c"]), (&"b".into(), &"d".into()));
    assert_eq!(pod["labels"]["app.kubernetes.io/name"], "trilobite-operator");
    let account = |name| &object(&objects, "ServiceAccount", name)["metadata"]["annotations"];
    assert_eq!((&account("trilobite-operator")["e"], &account("trilobite-node")["g"]), (&"f".into(), &"h".into()));
    assert_eq!(account("trilobite-relay")["i"], "j");
}

#[test]
fn reading_comes_with_view_unless_it_is_switched_off() {
    for (values, with_view) in [("global.x=y", true), ("rbac.readWithView=false", false)] {
        let Some(objects) = rendered(&["--set", values]) else { return };
        let aggregated = |role: &str, to: &str| {
            let labels = &object(&objects, "ClusterRole", role)["metadata"]["labels"];
            labels[format!("rbac.authorization.k8s.io/aggregate-to-{to}")] == "true"
        };
        // Events have arguments with the values of Secrets, which view must not read.
        assert!(!aggregated("trilobite-read", "view"), "{values}");
        assert_eq!(aggregated("trilobite-read", "edit"), with_view, "{values}");
        assert_eq!(aggregated("trilobite-read-flows-and-profiles", "view"), with_view, "{values}");
        let args =
            &object(&objects, "Deployment", "trilobite-operator")["spec"]["template"]["spec"]["containers"][0]["args"];
        assert_eq!(args[1], "--relay-image=localhost/trilobite-relay:dev");
    }
}

#[test]
fn every_object_has_the_recommended_labels() {
    let everything = "operator.podDisruptionBudget.create=true,metrics.serviceMonitor.create=true,\
                      metrics.prometheusRule.create=true,metrics.dashboards.create=true,namespace.create=true,node.priorityQuota=true,stack.create=true";
    let Some(objects) = rendered(&["--set", everything]) else { return };
    assert!(objects.len() > 20, "{}", objects.len());
    for object in &objects {
        for label in ["name", "instance", "part-of", "version", "managed-by"] {
            let value = &object["metadata"]["labels"][format!("app.kubernetes.io/{label}")];
            assert!(value.is_string(), "{} {}: {label}", object["kind"], object["metadata"]["name"]);
        }
    }
    // Kustomize users have no chart.
    assert!(!text("config/default/trilobite.yaml").contains("helm"));
}

#[test]
fn selectors_match_the_labels_of_what_they_select() {
    let values = "operator.podDisruptionBudget.create=true,metrics.serviceMonitor.create=true";
    let Some(objects) = rendered(&["--set", values]) else { return };
    let pod = &object(&objects, "Deployment", "trilobite-operator")["spec"]["template"];
    let service = object(&objects, "Service", "trilobite-operator");
    let budget = object(&objects, "PodDisruptionBudget", "trilobite-operator");
    let of_operator = object(&objects, "ServiceMonitor", "trilobite-operator");
    let of_agents = object(&objects, "ServiceMonitor", "trilobite-node");
    // The operator gives the agents' Service the labels of their DaemonSet.
    let daemon_set: Value = serde_yaml::from_str(&text("operator/tests/golden/daemon_set.yaml")).unwrap();
    for (selector, labels) in [
        (&service["spec"]["selector"], &pod["metadata"]["labels"]),
        (&budget["spec"]["selector"]["matchLabels"], &pod["metadata"]["labels"]),
        (&of_operator["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"]),
        (&of_agents["spec"]["selector"]["matchLabels"], &daemon_set["metadata"]["labels"]),
    ] {
        for (key, value) in selector.as_object().unwrap() {
            assert_eq!(&labels[key], value, "{selector} selects nothing: {labels}");
        }
    }
    assert_eq!(service["spec"]["ports"][0]["name"], of_operator["spec"]["endpoints"][0]["port"]);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], pod["spec"]["containers"][0]["ports"][0]["name"]);
}

#[test]
fn rules_on_drops_watch_the_chosen_namespaces() {
    for (values, namespaces) in [
        ("metrics.prometheusRule.create=true", ".+"),
        ("metrics.prometheusRule.create=true,metrics.prometheusRule.namespaces=production", "production"),
    ] {
        let Some(objects) = rendered(&["--set", values]) else { return };
        let rules = &object(&objects, "PrometheusRule", "trilobite-flows")["spec"]["groups"][0]["rules"];
        let alert = rules[0]["expr"].as_str().unwrap();
        assert!(alert.contains(&format!("rate(hubble_drop_total{{namespace=~\"{namespaces}\"}}[5m])")), "{alert}");
        assert!(rules[0]["annotations"]["summary"].as_str().unwrap().ends_with("{{ $labels.namespace }}"));
        assert_eq!(rules[1]["record"], "cilium_version");
    }
}

#[test]
fn dashboards_are_config_maps_that_grafana_selects() {
    let Some(objects) = rendered(&["--set", "metrics.dashboards.create=true"]) else { return };
    for name in ["drops", "flows", "metrics", "traffic"] {
        let map = object(&objects, "ConfigMap", &format!("trilobite-dashboard-{name}"));
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        let dashboard: Value = serde_json::from_str(map["data"][format!("{name}.json")].as_str().unwrap()).unwrap();
        assert_eq!(dashboard["uid"], format!("trilobite-{name}"));
    }
}

#[test]
fn charts_refuse_a_kubernetes_older_than_the_docs_say() {
    for chart in ["trilobite", "trilobite-crds"] {
        let Some(older) = template(chart, &["--kube-version", "1.32.9"]) else { return };
        let refusal = older.expect_err(chart);
        assert!(refusal.contains("kubeVersion: >=1.33.0-0"), "{refusal}");
        assert!(template(chart, &["--kube-version", "1.33.0"]).unwrap().is_ok(), "{chart}");
    }
    for page in ["docs/how-do-i-install-it.md", "README.md"] {
        assert!(text(page).contains("Kubernetes 1.33"), "{page}");
    }
}

/// Every value as a path, e.g. `operator.image.tag`; a map without keys is a value.
fn leaves(prefix: &str, value: &Value, found: &mut Vec<String>) {
    match value.as_object().filter(|fields| !fields.is_empty()) {
        Some(fields) => {
            for (name, value) in fields {
                leaves(&if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") }, value, found);
            }
        }
        None => found.push(prefix.to_owned()),
    }
}

#[test]
fn operator_leaves_failed_nodes_and_prefers_another_than_the_relays() {
    let pod = |arguments: &[&str]| {
        let objects = rendered(arguments)?;
        Some(object(&objects, "Deployment", "trilobite-operator")["spec"]["template"]["spec"].clone())
    };
    let Some(default) = pod(&[]) else { return };
    let seconds = |pod: &Value| {
        let tolerations = pod["tolerations"].as_array().cloned().unwrap_or_default();
        let times =
            tolerations.iter().map(|one| (one["key"].as_str().map(str::to_owned), one["tolerationSeconds"].as_u64()));
        times.collect::<Vec<_>>()
    };
    let failed = |key: &str, seconds| (Some(format!("node.kubernetes.io/{key}")), seconds);
    assert_eq!(seconds(&default), [failed("not-ready", Some(30)), failed("unreachable", Some(30))]);
    let terms = "/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm";
    let selector = &default.pointer(terms).unwrap()["labelSelector"]["matchLabels"];
    assert_eq!(selector["app.kubernetes.io/name"], "trilobite-relay");

    let longer = "operator.tolerations[0].key=node.kubernetes.io/unreachable,operator.tolerations[0].operator=Exists";
    assert_eq!(
        seconds(&pod(&["--set", longer]).unwrap()),
        [failed("unreachable", None), failed("not-ready", Some(30))]
    );
    assert_eq!(seconds(&pod(&["--set", "operator.tolerations[0].operator=Exists"]).unwrap()), [(None, None)]);
    let own = pod(&["--set", "operator.affinity.podAffinity.x=y"]).unwrap();
    assert_eq!(own["affinity"], serde_json::json!({"podAffinity": {"x": "y"}}));
}

#[test]
fn readme_lists_every_value() {
    let values: Value = serde_yaml::from_str(&text("charts/trilobite/values.yaml")).unwrap();
    let readme = text("charts/trilobite/README.md");
    let rows: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut found = Vec::new();
    leaves("", &values, &mut found);
    for value in &found {
        let is_listed = |row: &&str| value == row || value.starts_with(&format!("{row}."));
        assert!(rows.iter().any(is_listed), "charts/trilobite/README.md lacks {value}");
    }
    for row in rows {
        let exists = row.split('.').try_fold(&values, |value, name| value.get(name)).is_some();
        assert!(exists, "charts/trilobite/README.md lists {row}, which values.yaml lacks");
    }
}

#[test]
fn tetragons_kinds_are_installed_on_request_alone() {
    let names = |arguments: &[&str]| {
        let objects = template("trilobite-crds", arguments)?.unwrap_or_else(|refusal| panic!("{refusal}"));
        let all = objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned());
        Some(all.filter(|name| name.ends_with(".cilium.io")).collect::<Vec<_>>())
    };
    let Some(by_default) = names(&[]) else { return };
    assert_eq!(by_default, [""; 0]);
    let mut on_request = names(&["--set", "ciliumCompat=true"]).unwrap();
    on_request.sort();
    assert_eq!(on_request, ["tracingpolicies.cilium.io", "tracingpoliciesnamespaced.cilium.io"]);
    let refusal = template("trilobite-crds", &["--set", "ciliumCompt=true"]).unwrap().unwrap_err();
    assert!(refusal.contains("ciliumCompt"), "{refusal}");
}
