//! The client for the API server, configured by the rules of kubectl, and what the server's errors mean for a user.

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{args::ConnectionArgs, error_chain::error_chain, no_proxy::apply_no_proxy};

/// A request to the API server that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// No usable kubeconfig.
    #[error(
        "cannot connect to a cluster: {detail}; set KUBECONFIG, or pass --kubeconfig or --context, or --socket for a local agent"
    )]
    Kubeconfig { detail: String },
    /// The kind is unknown to the API server.
    #[error(
        "{doing}: the cluster does not know {kind}; install Trilobite's resource definitions: kubectl apply -k config/default"
    )]
    NotInstalled {
        doing: String,
        /// Plural.
        kind: String,
    },
    /// Refused by RBAC.
    #[error("{doing}: {detail}; ask for a role that allows it")]
    Forbidden { doing: String, detail: String },
    /// Anything else.
    #[error("{doing}: {detail}")]
    Api { doing: String, detail: String },
}

impl ClusterError {
    /// The meaning of `error`, which was returned while `doing` something with `kind` (plural).
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
            error => Self::Api { doing, detail: error_chain(error) },
        }
    }
}

/// A client for the cluster that the arguments and the environment name.
pub(crate) async fn client(connection: &ConnectionArgs) -> Result<Client, ClusterError> {
    let options = KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
    let failed = |error: &(dyn std::error::Error + 'static)| ClusterError::Kubeconfig { detail: error_chain(error) };
    let mut config = match (&connection.kubeconfig, &connection.context) {
        (Some(path), _) => {
            let file = Kubeconfig::read_from(path).map_err(|error| failed(&error))?;
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| failed(&error))?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(|error| failed(&error))?,
        (None, None) => Config::infer().await.map_err(|error| failed(&error))?,
    };
    apply_no_proxy(&mut config);
    Client::try_from(config).map_err(|error| failed(&error))
}
