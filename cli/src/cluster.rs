//! The way to the API server, by the rules that kubectl has, and what its answers mean for a user.

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{args::WayArguments, failure::chain, proxy::heed_no_proxy};

/// Why the API server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// No usable kubeconfig.
    #[error(
        "no way to a cluster: {detail}; set KUBECONFIG, or pass --kubeconfig or --context, or --socket for a local agent"
    )]
    Kubeconfig {
        /// What was found instead.
        detail: String,
    },
    /// The kind is unknown to the API server.
    #[error(
        "{doing}: the cluster does not know {kind}; install Trilobite's resource definitions: kubectl apply -k config/default"
    )]
    NotInstalled {
        /// What was being done.
        doing: String,
        /// Plural, as in its definition.
        kind: String,
    },
    /// RBAC says no.
    #[error("{doing}: {detail}; ask for a role that allows it")]
    Forbidden {
        /// What was being done.
        doing: String,
        /// The API server's words: who may not do what.
        detail: String,
    },
    /// Anything else.
    #[error("{doing}: {detail}")]
    Api {
        /// What was being done.
        doing: String,
        /// The API server's or the connection's words.
        detail: String,
    },
}

impl ClusterError {
    /// What `error` means when it came of `doing` something with `kind`.
    pub(crate) fn new(doing: impl Into<String>, kind: &str, error: kube::Error) -> Self {
        let doing = doing.into();
        match &error {
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden { doing, detail: status.message.clone() },
            kube::Error::Api(status) if status.code == 404 && status.message.contains("page not found") => {
                Self::NotInstalled { doing, kind: kind.into() }
            }
            kube::Error::Api(status) if !status.message.is_empty() => {
                Self::Api { doing, detail: status.message.clone() }
            }
            error => Self::Api { doing, detail: chain(error) },
        }
    }
}

/// A client for the cluster that the arguments and the environment name.
pub(crate) async fn client(way: &WayArguments) -> Result<Client, ClusterError> {
    let options = KubeConfigOptions { context: way.context.clone(), ..KubeConfigOptions::default() };
    let no_way = |error: &(dyn std::error::Error + 'static)| ClusterError::Kubeconfig { detail: chain(error) };
    let mut config = match (&way.kubeconfig, &way.context) {
        (Some(path), _) => {
            let file = Kubeconfig::read_from(path).map_err(|error| no_way(&error))?;
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| no_way(&error))?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(|error| no_way(&error))?,
        (None, None) => Config::infer().await.map_err(|error| no_way(&error))?,
    };
    heed_no_proxy(&mut config);
    Client::try_from(config).map_err(|error| no_way(&error))
}
