//! What the errors of kube and of the API server mean for a user, and what to do about them.

use kube::{client::AuthError, config::ExecConfig};

use super::connection::ConnectionError;
use crate::error_chain::error_chain;

/// A request to the API server that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// No usable kubeconfig.
    #[error(
        "cannot connect to a cluster: {detail}; set KUBECONFIG, or pass --kubeconfig or --context, or --socket for a local agent"
    )]
    Kubeconfig { detail: String },
    /// The kubeconfig's user has no credentials that could be sent.
    #[error("there are no credentials for the API server {server}: {detail}")]
    Credentials { server: String, detail: String },
    /// Nothing answers.
    #[error(
        "{doing}: the API server {server} cannot be reached: {detail}; is the cluster running, and is it the right one? See 'kubectl config get-contexts'"
    )]
    Unreachable { doing: String, server: String, detail: String },
    /// 401.
    #[error(
        "{doing}: the API server does not accept the credentials of the kubeconfig; log in again, and see 'kubectl auth whoami'"
    )]
    Unauthorized { doing: String },
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
    /// Asked before anything was started, see `rights`.
    #[error("{doing} needs rights that you do not have: {rights}; ask for a role that allows it")]
    MissingRights {
        doing: String,
        /// `create appprofiles.trilobite.dev in namespace shop`, joined.
        rights: String,
    },
    /// Anything else.
    #[error("{doing}: {detail}")]
    Api { doing: String, detail: String },
}

impl ClusterError {
    /// The meaning of `error`, which was returned while `doing` something with `kind` (plural).
    pub(crate) fn new(doing: impl Into<String>, kind: &str, error: kube::Error) -> Self {
        let doing = doing.into();
        match &error {
            kube::Error::Api(status) if status.code == 401 => Self::Unauthorized { doing },
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden { doing, detail: status.message.clone() },
            kube::Error::Api(status) if status.code == 404 && status.message.contains("page not found") => {
                Self::NotInstalled { doing, kind: kind.into() }
            }
            kube::Error::Api(status) if !status.message.is_empty() => {
                Self::Api { doing, detail: status.message.clone() }
            }
            kube::Error::Service(cause) => match cause.downcast_ref::<ConnectionError>() {
                Some(ConnectionError { server, detail }) => {
                    Self::Unreachable { doing, server: server.clone(), detail: detail.clone() }
                }
                None => Self::Api { doing, detail: error_chain(&error) },
            },
            error => Self::Api { doing, detail: error_chain(error) },
        }
    }

    /// The meaning of an error of building the client: most often the credential plugin's. What the plugin printed on
    /// standard output may be a token, and what it was started with may be a password: neither is shown.
    pub(super) fn from_credentials(server: &str, plugin: Option<&ExecConfig>, error: kube::Error) -> Self {
        let kube::Error::Auth(cause) = &error else {
            return Self::Kubeconfig { detail: error_chain(&error) };
        };
        let command = plugin.and_then(|plugin| plugin.command.as_deref()).unwrap_or("of the kubeconfig");
        let hint = plugin.and_then(|plugin| plugin.install_hint.as_deref()).map(str::trim);
        let detail = match cause {
            AuthError::AuthExecStart(cause) => {
                let install = hint.map_or_else(
                    || "install it, or correct users[].user.exec of the kubeconfig".to_owned(),
                    str::to_owned,
                );
                format!("the credential plugin {command} cannot be started ({}); {install}", without_number(cause))
            }
            AuthError::AuthExecRun { out, .. } => {
                let said = last_line(&out.stderr);
                let said = if said.is_empty() { "what it said is above".to_owned() } else { said };
                let how = out.status.code().map_or("a signal".to_owned(), |code| format!("exit code {code}"));
                format!("the credential plugin {command} failed with {how} ({said}); log in again, then retry")
            }
            AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => {
                format!(
                    "the credential plugin {command} printed no ExecCredential; run it by hand to see what it prints"
                )
            }
            cause => error_chain(cause),
        };
        Self::Credentials { server: server.into(), detail }
    }
}

fn without_number(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}
