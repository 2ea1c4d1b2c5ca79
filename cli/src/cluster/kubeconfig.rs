//! Which kubeconfig is used, by the rules of kubectl: --kubeconfig alone, or the files of KUBECONFIG merged in their order
//! without those that do not exist, or ~/.kube/config, or the service account of the pod.

use std::{
    env,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::error::ClusterError;
use crate::{args::ConnectionArgs, error_chain::error_chain};

pub(super) async fn load(connection: &ConnectionArgs) -> Result<Config, ClusterError> {
    let options = KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
    let (files, kubeconfig) = match &connection.kubeconfig {
        Some(path) => (vec![path.clone()], Some(read(path)?)),
        None => {
            let files = default_files();
            let merged = merge_existing(&files)?;
            (files, merged)
        }
    };
    let Some(kubeconfig) = kubeconfig else {
        let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        let detail = match names.as_slice() {
            [] => "there is no kubeconfig".to_owned(),
            [one] => format!("there is no kubeconfig {one}"),
            all => format!("none of the kubeconfigs {} exists", all.join(", ")),
        };
        return Config::incluster().map_err(|_| ClusterError::Kubeconfig { detail });
    };
    match Config::from_custom_kubeconfig(kubeconfig, &options).await {
        // A kubeconfig without a context is as good as none: kubectl goes on with the pod's service account.
        Err(error @ KubeconfigError::CurrentContextNotSet) => Config::incluster().map_err(|_| explain(&error)),
        loaded => loaded.map_err(|error| explain(&error)),
    }
}

fn default_files() -> Vec<PathBuf> {
    let set = env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    let files = set.map(|value| env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect());
    files.filter(|files: &Vec<PathBuf>| !files.is_empty()).unwrap_or_else(|| {
        let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        home.map(|home| home.join(".kube/config")).into_iter().collect()
    })
}

/// Of a name that several files have, the first counts. None if no file exists.
fn merge_existing(files: &[PathBuf]) -> Result<Option<Kubeconfig>, ClusterError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in files {
        let next = match Kubeconfig::read_from(path) {
            Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == ErrorKind::NotFound => continue,
            next => next.map_err(|error| unusable(path, &error))?,
        };
        merged = Some(match merged {
            None => next,
            Some(before) => before.merge(next).map_err(|error| unusable(path, &error))?,
        });
    }
    Ok(merged)
}

fn read(path: &Path) -> Result<Kubeconfig, ClusterError> {
    Kubeconfig::read_from(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &KubeconfigError) -> ClusterError {
    let detail = match error {
        KubeconfigError::ReadConfig(cause, _) => cause.to_string(),
        error => error_chain(error),
    };
    ClusterError::Kubeconfig { detail: format!("kubeconfig {} cannot be used: {detail}", path.display()) }
}

fn explain(error: &KubeconfigError) -> ClusterError {
    let detail = match error {
        KubeconfigError::CurrentContextNotSet => {
            "the kubeconfig has no current context; 'kubectl config use-context NAME' sets one".to_owned()
        }
        KubeconfigError::LoadContext(name) => {
            format!("the kubeconfig has no context {name}; 'kubectl config get-contexts' lists them")
        }
        KubeconfigError::LoadClusterOfContext(name) => {
            format!("the kubeconfig has no cluster {name}, which its context names")
        }
        error => error_chain(error),
    };
    ClusterError::Kubeconfig { detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, context: &str, server: &str) -> PathBuf {
        let path = folder.join(name);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {context}\nclusters: [{{name: reef, cluster: {{server: \"{server}\"}}}}]\n\
             contexts: [{{name: {context}, context: {{cluster: reef, user: u}}}}]\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn missing_files_are_skipped_and_the_first_of_a_name_counts() {
        let folder = std::env::temp_dir().join(format!("trilobite-kubeconfigs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let first = file(&folder, "first", "one", "http://one.example");
        let second = file(&folder, "second", "two", "http://two.example");
        let merged = merge_existing(&[folder.join("missing"), first, second]).unwrap().unwrap();
        let none = merge_existing(&[folder.join("missing")]).unwrap();
        std::fs::write(folder.join("broken"), "clusters: 7").unwrap();
        let broken = merge_existing(&[folder.join("broken")]).unwrap_err().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(merged.current_context.as_deref(), Some("one"));
        assert_eq!(merged.contexts.len(), 2);
        assert_eq!(merged.clusters[0].cluster.as_ref().unwrap().server.as_deref(), Some("http://one.example"));
        assert!(none.is_none());
        assert!(broken.contains("broken cannot be used"), "{broken}");
    }
}
