//! The user of a request: named by the API server in headers, or by a token that the API server reviews.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{Api, Client, api::PostParams};
use sha2::{Digest, Sha256};
use tokio::{sync::watch, time::timeout};

use super::{
    expiring_cache::ExpiringCache,
    request_header::RequestHeaders,
    user::{Peer, User},
};
use crate::api_error::ApiError;

const TOKEN_KEPT_FOR: Duration = Duration::from_secs(10);
const MAX_TOKENS: usize = 256;
const LONGEST_TOKEN: usize = 16 << 10;
/// The user name that goes with a token in basic authentication.
const TOKEN_USER: &str = "token";
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Authenticator {
    client: Client,
    headers: watch::Receiver<Option<Arc<RequestHeaders>>>,
    /// By the token's SHA-256: tokens are not kept. None for a token that is refused.
    tokens: ExpiringCache<[u8; 32], Option<User>>,
}

impl Authenticator {
    pub fn new(client: Client, headers: watch::Receiver<Option<Arc<RequestHeaders>>>) -> Self {
        Self { client, headers, tokens: ExpiringCache::new(TOKEN_KEPT_FOR, MAX_TOKENS) }
    }

    pub async fn user(&self, peer: &Peer, headers: &HeaderMap) -> Result<User, ApiError> {
        if let Some(common_name) = &peer.common_name {
            let known = self.headers.borrow().clone();
            let user = known.and_then(|known| known.user(common_name, headers));
            return user.ok_or_else(ApiError::unauthorized);
        }
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.user_of_token(token.and_then(bearer).ok_or_else(ApiError::unauthorized)?).await
    }

    /// The user of a token, which the API server reviews.
    pub async fn user_of_token(&self, token: &str) -> Result<User, ApiError> {
        if token.len() > LONGEST_TOKEN {
            return Err(ApiError::unauthorized());
        }
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let now = Instant::now();
        if let Some(known) = self.tokens.get(&key, now) {
            return known.ok_or_else(ApiError::unauthorized);
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let away = |error: &dyn std::fmt::Display| {
            // Its address is not for those who ask.
            tracing::warn!(%error, "cannot review a token");
            ApiError::unavailable("the API server does not answer the relay's question about the token")
        };
        let reviewed = timeout(REVIEW_TIMEOUT, reviews.create(&PostParams::default(), &review)).await;
        let reviewed = reviewed.map_err(|error| away(&error))?.map_err(|error| away(&error))?;
        let status = reviewed.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).and_then(|user| {
            Some(User {
                name: user.username.filter(|name| !name.is_empty())?,
                uid: user.uid.unwrap_or_default(),
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default(),
            })
        });
        self.tokens.insert(key, user.clone(), now);
        user.ok_or_else(ApiError::unauthorized)
    }
}

fn bearer(value: &str) -> Option<&str> {
    credentials(value, "bearer")
}

/// What follows the scheme in a header `authorization`.
fn credentials<'a>(value: &'a str, wanted: &str) -> Option<&'a str> {
    let (scheme, rest) = value.split_once(' ')?;
    Some(rest.trim()).filter(|rest| scheme.eq_ignore_ascii_case(wanted) && !rest.is_empty())
}

/// The token in a header `authorization`: a bearer's, or the password of a user called `token`, as clients send it that know basic
/// authentication alone.
pub fn token_of(value: &str) -> Option<String> {
    if let Some(token) = bearer(value) {
        return Some(token.to_owned());
    }
    let decoded = STANDARD.decode(credentials(value, "basic")?).ok()?;
    let (user, token) = str::from_utf8(&decoded).ok()?.split_once(':')?;
    (user == TOKEN_USER && !token.is_empty()).then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_tokens_are_tokens() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        for value in ["Basic abc", "Bearer", "Bearer ", "abc"] {
            assert_eq!(bearer(value), None, "{value}");
        }
    }

    #[test]
    fn password_of_the_user_token_is_a_token() {
        let basic = |credentials: &str| format!("Basic {}", STANDARD.encode(credentials));
        assert_eq!(token_of(&basic("token:abc:d")).as_deref(), Some("abc:d"));
        assert_eq!(token_of("Bearer abc").as_deref(), Some("abc"));
        for value in [basic("zoe:abc"), basic("token:"), basic("token"), "Basic ?".into(), "Basic".into()] {
            assert_eq!(token_of(&value), None, "{value}");
        }
    }
}
