//! The read API, `read.trilobite.dev`, with the user's own kubeconfig: the API server decides by namespace what the user may
//! read, and the relay behind it asks the agents.

mod answer;
mod coverage;
mod profiles;
mod query;
mod watch;

use std::time::Duration;

use futures::AsyncBufRead;
use kube::Client;
use tokio::time::timeout;
use trilobite_crds::read_api::{GROUP, VERSION};

pub(crate) use self::{
    answer::List,
    coverage::Coverage,
    profiles::{FoldedAnswer, ProfileState},
    query::Query,
    watch::{WatchUpdate, Watcher},
};
use crate::{cluster::ClusterError, error_chain::error_chain};

/// How long the discovery may take.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(3);

/// The API of one cluster.
#[derive(Clone)]
pub(crate) struct ReadApi {
    client: Client,
}

/// Whether a cluster serves the read API.
pub(crate) enum Discovery {
    Served(ReadApi),
    /// Why not, e.g. because no relay runs.
    Absent(String),
}

impl ReadApi {
    /// Asks the API server's discovery. Every failure is an absence: the other way has errors of its own.
    pub(crate) async fn discover(client: &Client) -> Discovery {
        let request = http::Request::get(format!("/apis/{GROUP}/{VERSION}")).body(Vec::new());
        let Ok(request) = request else { return Discovery::Absent(String::new()) };
        // The client repeats a request that is answered with 503, as long as no relay runs.
        match timeout(DISCOVERY_TIMEOUT, client.request_text(request)).await {
            Ok(Ok(_)) => Discovery::Served(Self { client: client.clone() }),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                Discovery::Absent(format!("the cluster does not serve {GROUP}"))
            }
            Ok(Err(error)) => Discovery::Absent(format!("{GROUP} does not answer: {}", error_chain(&error))),
            Err(_) => Discovery::Absent(format!("{GROUP} does not answer within {DISCOVERY_TIMEOUT:?}")),
        }
    }

    pub(crate) async fn list(&self, query: &Query) -> Result<List, ClusterError> {
        let read = self.client.request(query.request()).await;
        read.map_err(|error| query.failed(error))
    }

    /// The lines of a watch.
    async fn stream(&self, query: &Query) -> Result<impl AsyncBufRead + Unpin + use<>, ClusterError> {
        let read = self.client.request_stream(query.request()).await;
        read.map(Box::pin).map_err(|error| query.failed(error))
    }
}
