//! Why the API server cannot be reached, with its name.

use std::error::Error;

use kube::Config;

type BoxError = Box<dyn Error + Send + Sync>;

/// The request did not reach the API server, or its answer did not come back.
#[derive(Debug, thiserror::Error)]
#[error("the API server {server} cannot be reached: {detail}")]
pub(super) struct ConnectionError {
    pub(super) server: String,
    /// The innermost cause, which names what happened on the wire.
    pub(super) detail: String,
}

impl ConnectionError {
    /// Errors of kube itself, e.g. of a token that could not be renewed, stay as they are.
    pub(super) fn wrap(server: &str, error: BoxError) -> BoxError {
        if error.is::<kube::Error>() {
            return error;
        }
        Box::new(Self { server: server.into(), detail: innermost(error.as_ref()) })
    }
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    // `(os error 111)` tells a user nothing that the words before it do not.
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// The server's URL, and the proxy on the way to it, without the proxy's password.
pub(super) fn server_name(config: &Config) -> String {
    let url = config.cluster_url.to_string();
    let url = url.trim_end_matches('/');
    match config.proxy_url.as_ref().and_then(|proxy| proxy.host()) {
        Some(proxy) => format!("{url} (through the proxy {proxy})"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_the_server_has_no_password_of_the_proxy() {
        let mut config = Config::new("https://192.0.2.7:6443".parse().unwrap());
        assert_eq!(server_name(&config), "https://192.0.2.7:6443");
        config.proxy_url = Some("http://user:secret@proxy.example:3128".parse().unwrap());
        assert_eq!(server_name(&config), "https://192.0.2.7:6443 (through the proxy proxy.example)");
    }

    #[test]
    fn innermost_cause_is_shown_without_its_number() {
        let refused = std::io::Error::from_raw_os_error(111);
        let outer = std::io::Error::other(refused);
        assert_eq!(innermost(&outer), "connection refused");
    }
}
