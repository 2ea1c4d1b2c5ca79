//! The namespaces whose flows a user may read, for clients that name none: `get flows` of the whole cluster, or of each namespace.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, future::ready, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use tokio::time::timeout;
use trilobite_api::read_scope::ReadScope;
use trilobite_crds::read_api::GROUP;

use super::{
    authorize::{Attributes, Authorizer, Target},
    expiring_cache::ExpiringCache,
    user::User,
};
use crate::api_error::ApiError;

const KEPT_FOR: Duration = Duration::from_secs(10);
const MAX_USERS: usize = 64;
const LIST_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions to the API server at the same time, about one user.
const CONCURRENCY: usize = 16;
/// Agents take 16 KiB of metadata with a call.
const MAX_SCOPE_BYTES: usize = 12 << 10;

pub struct ReadableNamespaces {
    client: Client,
    authorizer: Arc<Authorizer>,
    names: ExpiringCache<(), Arc<Vec<String>>>,
    scopes: ExpiringCache<User, ReadScope>,
}

impl ReadableNamespaces {
    pub fn new(client: Client, authorizer: Arc<Authorizer>) -> Self {
        Self {
            client,
            authorizer,
            names: ExpiringCache::new(KEPT_FOR, 1),
            scopes: ExpiringCache::new(KEPT_FOR, MAX_USERS),
        }
    }

    /// An error if the user may read the flows of no namespace.
    pub async fn flows(&self, user: &User) -> Result<ReadScope, ApiError> {
        let now = Instant::now();
        if let Some(known) = self.scopes.get(user, now) {
            return Ok(known);
        }
        let scope = self.review(user).await?;
        self.scopes.insert(user.clone(), scope.clone(), now);
        Ok(scope)
    }

    async fn review(&self, user: &User) -> Result<ReadScope, ApiError> {
        if self.authorizer.allows(user, &get_flows(None)).await? {
            return Ok(ReadScope::Everything);
        }
        let names = self.names().await?;
        let reviewed = stream::iter(names.iter().cloned()).map(|name| async move {
            let allowed = self.authorizer.allows(user, &get_flows(Some(&name))).await?;
            Ok::<_, ApiError>(allowed.then_some(name))
        });
        let readable = reviewed.buffer_unordered(CONCURRENCY).try_filter_map(|name| ready(Ok(name)));
        let scope = ReadScope::Namespaces(readable.try_collect().await?);
        match scope.to_string().len() {
            0 => Err(ApiError::forbidden(format!(
                "flows.{GROUP} is forbidden: User {:?} cannot get resource \"flows\" in API group {GROUP:?} in any namespace",
                user.name
            ))),
            MAX_SCOPE_BYTES.. => Err(ApiError::bad_request(format!(
                "user {:?} may get flows in more namespaces than a call can name, and not in the whole cluster: bind the role by a ClusterRoleBinding, or read one namespace by kubectl",
                user.name
            ))),
            _ => Ok(scope),
        }
    }

    async fn names(&self) -> Result<Arc<Vec<String>>, ApiError> {
        let now = Instant::now();
        if let Some(known) = self.names.get(&(), now) {
            return Ok(known);
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let away = |error: &dyn std::fmt::Display| {
            // Its address is not for those who ask.
            tracing::warn!(%error, "cannot list namespaces");
            ApiError::unavailable("the API server does not answer the relay's question about namespaces")
        };
        let listed = timeout(LIST_TIMEOUT, namespaces.list_metadata(&ListParams::default())).await;
        let listed = listed.map_err(|error| away(&error))?.map_err(|error| away(&error))?;
        let names = Arc::new(listed.items.iter().map(|namespace| namespace.name_any()).collect::<Vec<_>>());
        self.names.insert((), Arc::clone(&names), now);
        Ok(names)
    }
}

fn get_flows(namespace: Option<&str>) -> Attributes {
    let target = Target::Resource {
        resource: "flows",
        subresource: "",
        namespace: namespace.map(str::to_owned),
        name: String::new(),
    };
    Attributes { verb: "get", target }
}
