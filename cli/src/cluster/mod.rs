//! The client for the API server, configured by the rules of kubectl, and what the server's errors mean for a user.

mod connection;
mod error;
mod kubeconfig;

use kube::{Api, Client, client::ClientBuilder};
use tower::util::MapErrLayer;
use trilobite_crds::AppProfile;

use self::connection::{ConnectionError, server_name};
pub(crate) use self::error::ClusterError;
use crate::{args::ConnectionArgs, no_proxy::apply_no_proxy};

/// A client for the cluster that the arguments and the environment name. Its errors name the server.
pub(crate) async fn client(connection: &ConnectionArgs) -> Result<Client, ClusterError> {
    let mut config = kubeconfig::load(connection).await?;
    apply_no_proxy(&mut config);
    let server = server_name(&config);
    let plugin = config.auth_info.exec.clone();
    let builder = ClientBuilder::try_from(config)
        .map_err(|error| ClusterError::from_credentials(&server, plugin.as_ref(), error))?;
    let named = MapErrLayer::new(move |error| ConnectionError::wrap(&server, error));
    Ok(builder.with_layer(&named).build())
}

/// The AppProfiles of a namespace, or of all without one, and how messages name where they are.
pub(crate) fn app_profiles(client: &Client, namespace: Option<&str>) -> (Api<AppProfile>, String) {
    match namespace {
        Some(namespace) => (Api::namespaced(client.clone(), namespace), format!("namespace {namespace}")),
        None => (Api::all(client.clone()), "the cluster".to_owned()),
    }
}
