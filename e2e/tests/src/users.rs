//! Users of the cluster other than its administrator: ServiceAccounts, each with a kubeconfig that holds its token alone.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Output};

use serde_json::{Value, json};

use crate::{Kubectl, clients};

/// A ServiceAccount that acts by its own token.
pub struct User {
    /// As this user.
    pub kubectl: Kubectl,
    /// Its name, as the API server's refusals have it.
    pub name: String,
}

impl User {
    /// Makes the account, and a kubeconfig with its token.
    #[track_caller]
    pub fn create(admin: &Kubectl, namespace: &str, name: &str) -> Self {
        admin.apply(&format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        ));
        let token = admin.run(&["-n", namespace, "create", "token", name, "--duration=2h"]);
        let view = admin.run(&["config", "view", "--raw", "--minify", "-o", "json"]);
        let view: Value = serde_json::from_str(&view).unwrap();
        let context = json!({"cluster": view["clusters"][0]["name"], "user": name, "namespace": namespace});
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": view["clusters"],
            "contexts": [{"name": name, "context": context}],
            "users": [{"name": name, "user": {"token": token.trim()}}],
        });
        let path = folder().join(format!("{namespace}-{name}.kubeconfig"));
        fs::write(&path, kubeconfig.to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Self { kubectl: Kubectl::new(path), name: format!("system:serviceaccount:{namespace}:{name}") }
    }

    /// Binds a ClusterRole in a namespace.
    #[track_caller]
    pub fn bind(&self, admin: &Kubectl, namespace: &str, role: &str) {
        let account = self.name.trim_start_matches("system:serviceaccount:");
        let binding = format!("{}-{role}", account.replace(':', "-"));
        admin.run(&["-n", namespace, "delete", "rolebinding", &binding, "--ignore-not-found"]);
        let (role, account) = (format!("--clusterrole={role}"), format!("--serviceaccount={account}"));
        admin.run(&["-n", namespace, "create", "rolebinding", &binding, &role, &account]);
    }

    /// Our own command line as this user.
    pub fn trilobite(&self, words: &[&str]) -> Output {
        clients::trilobite(&self.kubectl, words).output().expect("the command line starts")
    }

    /// kubectl is refused by the API server, in words that name verb and resource.
    #[track_caller]
    pub fn is_refused(&self, words: &[&str], verb: &str, resource: &str) {
        let done = self.kubectl.output(words);
        self.check_refusal(&done, words, verb, resource);
    }

    /// So is our own command line.
    #[track_caller]
    pub fn command_is_refused(&self, words: &[&str], verb: &str, resource: &str) {
        let done = self.trilobite(words);
        self.check_refusal(&done, words, verb, resource);
    }

    #[track_caller]
    fn check_refusal(&self, done: &Output, words: &[&str], verb: &str, resource: &str) {
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success(), "{} may {words:?}: {}", self.name, String::from_utf8_lossy(&done.stdout));
        assert!(
            said.contains(verb) && said.contains(resource),
            "{words:?} was not refused with {verb} {resource}: {said}"
        );
        assert!(done.stdout.is_empty(), "{words:?} printed {}", String::from_utf8_lossy(&done.stdout));
    }
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("trilobite-e2e-users-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
