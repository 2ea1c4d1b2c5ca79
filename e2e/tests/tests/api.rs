//! Manifests, samples and roles before a real API server, without nodes: what is meant to be accepted is, what is not is refused
//! with the field, and a team may do in its namespace what its role says and nothing else.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{fs, path::PathBuf, process::Command, sync::OnceLock};

use trilobite_cluster::{Cache, ControlPlane, workspace_root};
use trilobite_e2e::{Kubectl, eventually};

/// The administrator's kubectl before a control plane that has the CRDs, the operator's objects and the roles.
fn kubectl() -> &'static Kubectl {
    static CONTROL_PLANE: OnceLock<(ControlPlane, Kubectl)> = OnceLock::new();
    let (_, kubectl) = CONTROL_PLANE.get_or_init(|| {
        let control_plane = ControlPlane::start().unwrap();
        let kubectl = Kubectl::new(control_plane.kubeconfig());
        kubectl.run(&["apply", "--server-side", "-k", &path("config/default")]);
        eventually("the CRDs are established", 20, || {
            kubectl.ask(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=10s"])
        });
        (control_plane, kubectl)
    });
    kubectl
}

fn path(path: &str) -> String {
    workspace_root().join(path).display().to_string()
}

/// Manifests of a folder, without its kustomization.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(workspace_root().join(folder)).unwrap().map(|file| file.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    found.retain(|path| path.file_name().is_some_and(|name| name != "kustomization.yaml"));
    found.sort();
    assert!(!found.is_empty(), "{folder} is empty");
    found
}

#[test]
fn the_api_server_takes_every_good_sample_and_refuses_every_bad_one() {
    let kubectl = kubectl();
    for path in files("config/samples").into_iter().chain(files("crds/samples/accepted")) {
        let done = kubectl.output(&["apply", "--dry-run=server", "-f", &path.display().to_string()]);
        assert!(done.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&done.stderr));
    }
    for path in files("crds/samples/refused") {
        let text = fs::read_to_string(&path).unwrap();
        let announced = text.lines().next().and_then(|line| line.strip_prefix("# refused: ")).unwrap().to_owned();
        // The last document is the one that is meant; those before it only make it a change.
        let documents: Vec<&str> = text.split("\n---\n").collect();
        let (refused, before) = documents.split_last().unwrap();
        before.iter().for_each(|document| kubectl.apply(document));
        let said = kubectl.try_apply(refused).expect_err(&format!("{} was accepted", path.display()));
        assert!(said.contains(&announced), "{}: {announced:?} is not said:\n{said}", path.display());
    }
}

/// As Argo CD and Flux apply: server-side, with the strict validation of fields.
const DRY_RUN: [&str; 5] = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"];

#[test]
fn every_kustomization_passes_a_dry_run() {
    let kubectl = kubectl();
    kubectl.apply("{apiVersion: v1, kind: Namespace, metadata: {name: argocd}}");
    for folder in ["config/crd", "config/default", "config/samples", "config/gitops/stack", "config/gitops/argocd"] {
        let said = kubectl.run(&[&DRY_RUN[..], &["-k", &path(folder)]].concat());
        assert!(said.contains("serverside-applied (server dry run)"), "{folder}: {said}");
    }
}

#[test]
fn the_charts_pass_a_dry_run_with_everything_on() {
    let kubectl = kubectl();
    kubectl.apply("{apiVersion: v1, kind: Namespace, metadata: {name: reef}}");
    let everything = "operator.podDisruptionBudget.create=true,operator.podLabels.team=reef,node.priorityQuota=true,\
                      namespace.create=true,metrics.dashboards.create=true,stack.create=true,\
                      stack.spec.security.mode=Enabled";
    for (chart, values) in [("trilobite-crds", "global.x=y"), ("trilobite", "global.x=y"), ("trilobite", everything)] {
        let mut helm =
            Command::new(Cache::from_environment().program("helm").expect("`trilobite-cluster build clients`"));
        helm.args(["template", "reef", &path(&format!("charts/{chart}")), "--namespace=reef", "--set", values]);
        let rendered = helm.output().unwrap();
        assert!(rendered.status.success(), "{chart}: {}", String::from_utf8_lossy(&rendered.stderr));
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{chart}.yaml"));
        fs::write(&file, rendered.stdout).unwrap();
        kubectl.run(&[&DRY_RUN[..], &["-f", &file.display().to_string()]].concat());
    }
}

/// Namespaces `mine` and `theirs`; in `mine` one user for each role.
fn team() -> String {
    let namespace = |name: &str| format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}");
    let binding = |role: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {role}, namespace: mine}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n\
             subjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: with-{role}}}]"
        )
    };
    let roles = ["view", "edit", "trilobite-edit", "trilobite-read", "trilobite-read-flows-and-profiles"];
    let bindings = roles.map(binding);
    [namespace("mine"), namespace("theirs"), bindings.join("\n---\n")].join("\n---\n")
}

/// Whether a user may do something: what the test expects.
#[derive(Debug)]
struct Question {
    /// Of the role that the user has in `mine`.
    user: &'static str,
    verb: &'static str,
    kind: &'static str,
    part: &'static str,
    namespace: &'static str,
    permitted: bool,
}

impl Question {
    fn review(&self) -> String {
        let Self { user, verb, kind, part, namespace, .. } = self;
        let group = match *kind {
            "pods" => "",
            "events" | "flows" | "profiles" | "requests" | "nodes" => "read.trilobite.dev",
            _ => "trilobite.dev",
        };
        format!(
            "apiVersion: authorization.k8s.io/v1\nkind: SubjectAccessReview\nspec:\n  user: with-{user}\n  resourceAttributes: \
             {{verb: {verb}, group: \"{group}\", resource: {kind}, subresource: \"{part}\", namespace: \"{namespace}\"}}\n"
        )
    }
}

/// The read API: events have the arguments of processes, requests may have payloads, and so take more than `view`.
fn questions_about_reading() -> Vec<Question> {
    let mut questions = Vec::new();
    let results = [("profiles", "flamegraph"), ("profiles", "folded"), ("profiles", "pprof")];
    let parts = [("events", ""), ("flows", ""), ("profiles", ""), ("requests", "")].into_iter().chain(results);
    for (kind, part) in parts {
        let takes_more = ["events", "requests"].contains(&kind);
        for (user, reads) in [
            ("view", !takes_more),
            ("edit", true),
            ("trilobite-read", true),
            ("trilobite-read-flows-and-profiles", !takes_more),
            ("trilobite-edit", false),
        ] {
            for verb in ["get", "list", "watch"] {
                questions.push(Question { user, verb, kind, part, namespace: "mine", permitted: reads });
                for namespace in ["theirs", ""] {
                    questions.push(Question { user, verb, kind, part, namespace, permitted: false });
                }
            }
            questions.push(Question { user, verb: "delete", kind, part, namespace: "mine", permitted: false });
        }
    }
    for user in ["edit", "trilobite-read"] {
        questions.push(Question { user, verb: "list", kind: "nodes", part: "", namespace: "", permitted: false });
    }
    questions
}

#[test]
fn roles_permit_what_the_docs_say_and_nothing_else() {
    let kubectl = kubectl();
    kubectl.apply(&team());
    let role = "trilobite-edit";
    let mut questions = Vec::new();
    for kind in ["tracingpoliciesnamespaced", "flowcaptures", "appprofiles"] {
        for user in ["view", "edit", role] {
            questions.push(Question { user, verb: "watch", kind, part: "", namespace: "mine", permitted: true });
            questions.push(Question { user, verb: "get", kind, part: "", namespace: "theirs", permitted: false });
        }
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            questions.push(Question { user: role, verb, kind, part: "", namespace: "mine", permitted: true });
            questions.push(Question { user: role, verb, kind, part: "", namespace: "theirs", permitted: false });
            questions.push(Question { user: "edit", verb, kind, part: "", namespace: "mine", permitted: false });
        }
        questions.push(Question {
            user: role,
            verb: "patch",
            kind,
            part: "status",
            namespace: "mine",
            permitted: false,
        });
    }
    for kind in ["observabilitystacks", "tracingpolicies", "noderuntimes", "nodeprofiles", "profileparts"] {
        questions.push(Question { user: role, verb: "create", kind, part: "", namespace: "", permitted: false });
    }
    questions.push(Question {
        user: role,
        verb: "create",
        kind: "pods",
        part: "exec",
        namespace: "trilobite-system",
        permitted: false,
    });
    questions.extend(questions_about_reading());
    let reviews: Vec<String> = questions.iter().map(Question::review).collect();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reviews.yaml");
    fs::write(&file, reviews.join("\n---\n")).unwrap();
    // A controller adds the rules of trilobite-view to view, and those of view to edit.
    eventually("roles permit what they should, and nothing else", 30, || {
        let answers =
            kubectl.ask(&["create", "-f", &file.display().to_string(), "-o", "jsonpath={.status.allowed} "])?;
        let answers: Vec<bool> = answers.split_whitespace().map(|allowed| allowed == "true").collect();
        assert_eq!(answers.len(), questions.len());
        let wrong: Vec<_> =
            questions.iter().zip(answers).filter(|(asked, allowed)| asked.permitted != *allowed).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
    });

    let profile = path("config/gitops/stack/appprofile-2026-11-29.yaml");
    let text = fs::read_to_string(profile).unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("profile-of-a-team.yaml");
    for (namespace, permitted) in [("mine", true), ("theirs", false)] {
        fs::write(&file, text.replace("namespace: default", &format!("namespace: {namespace}"))).unwrap();
        let done = kubectl.output(&["create", "--as=with-trilobite-edit", "-f", &file.display().to_string()]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() == permitted && (permitted || said.contains("forbidden")), "{namespace}: {said}");
    }
}

#[test]
fn the_sample_quota_limits_what_a_namespace_has() {
    let kubectl = kubectl();
    kubectl.apply("{apiVersion: v1, kind: Namespace, metadata: {name: bounded}}");
    let quota = fs::read_to_string(path("config/samples/resourcequota.yaml")).unwrap();
    let quota = quota.replace("namespace: default", "namespace: bounded");
    let profile = |number: u32| {
        format!(
            "{{apiVersion: trilobite.dev/v1alpha1, kind: AppProfile, metadata: {{name: run-{number}, namespace: bounded}}, \
             spec: {{podSelector: {{}}, cpu: {{}}, durationSeconds: 10}}}}"
        )
    };
    // The quota's controller learns of new kinds every 30 seconds, and counts again what an older quota names only every five
    // minutes; until then the API server refuses every object.
    eventually("the quota counts AppProfiles", 120, || {
        kubectl.delete(&quota);
        kubectl.apply(&quota);
        kubectl.try_apply(&profile(1))
    });
    (2..=5).for_each(|number| kubectl.apply(&profile(number)));
    let said = kubectl.try_apply(&profile(6)).unwrap_err();
    assert!(said.contains("exceeded quota: trilobite") && said.contains("count/appprofiles.trilobite.dev=5"), "{said}");
}

/// Spec and place of the kinds whose states are described.
fn described(kind: &str) -> (&'static str, serde_json::Value) {
    let pods = serde_json::json!({ "matchLabels": { "app": "till" } });
    match kind {
        "ObservabilityStack" => ("observabilitystacks", serde_json::json!({ "security": { "mode": "Enabled" } })),
        "TracingPolicy" => ("tracingpolicies", serde_json::json!({})),
        "TracingPolicyNamespaced" => ("tracingpoliciesnamespaced", serde_json::json!({})),
        "FlowCapture" => ("flowcaptures", serde_json::json!({ "podSelector": pods })),
        _ => ("appprofiles", serde_json::json!({ "podSelector": pods, "cpu": {} })),
    }
}

/// The states whose conditions Argo CD, kstatus and `trilobite status` are tested with; nothing reconciles them here.
#[test]
fn describe_says_what_the_conditions_of_each_state_say() {
    let kubectl = kubectl();
    kubectl.apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}");
    let mut described_states = 0;
    for file in files("e2e/gitops/states") {
        let state: serde_json::Value = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let mut object = state["object"].clone();
        let (plural, spec) = described(object["kind"].as_str().unwrap());
        object["spec"] = spec;
        // The finalizer would keep the object, and nobody but the API server may write when it was deleted.
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("deletionTimestamp");
        metadata.remove("finalizers");
        kubectl.apply(&object.to_string());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let namespace = object["metadata"]["namespace"].as_str().map(|namespace| format!("--namespace={namespace}"));
        for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = serde_json::json!("2026-11-29T17:00:00Z");
        }
        let patch = serde_json::json!({ "status": object["status"] }).to_string();
        let mut words = vec!["patch", plural, &name, "--subresource=status", "--type=merge", "-p", &patch];
        words.extend(namespace.as_deref());
        kubectl.run(&words);
        let mut words = vec!["describe", plural, &name];
        words.extend(namespace.as_deref());
        let text = kubectl.run(&words);
        for condition in object["status"]["conditions"].as_array().into_iter().flatten() {
            for field in ["type", "reason", "message"] {
                let said = condition[field].as_str().unwrap();
                assert!(text.contains(said), "{}: {field} {said:?} is not in\n{text}", file.display());
            }
        }
        assert!(text.contains(state["says"].as_str().unwrap()), "{}:\n{text}", file.display());
        let mut words = vec!["delete", plural, &name];
        words.extend(namespace.as_deref());
        kubectl.run(&words);
        described_states += 1;
    }
    assert!(described_states >= 15);
}
