//! `NO_PROXY` by the rules of kubectl: whether to connect to the API server directly though a proxy is set. kube
//! compares NO_PROXY with the proxy's address instead of the server's.

use std::{env, net::IpAddr};

use ipnet::IpNet;
use kube::Config;

/// Removes from `config` a proxy of the environment if NO_PROXY exempts this server. A proxy that the kubeconfig names
/// for its cluster stays.
pub(crate) fn apply_no_proxy(config: &mut Config) {
    let of_environment = variable("HTTPS_PROXY").and_then(|url| url.parse().ok());
    let host = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = config.cluster_url.port_u16().unwrap_or(443);
    if config.proxy_url == of_environment && is_direct(&variable("NO_PROXY").unwrap_or_default(), host, port) {
        config.proxy_url = None;
    }
}

fn variable(name: &str) -> Option<String> {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    set(name).or_else(|| set(&name.to_lowercase()))
}

/// Whether `no_proxy` exempts the host, or the host is this machine.
fn is_direct(no_proxy: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.').to_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    host == "localhost"
        || address.is_some_and(|address| address.is_loopback())
        || no_proxy.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
            let entry = entry.to_lowercase();
            entry == "*" || matches_entry(&entry, &host, address, port)
        })
}

/// Entries: `10.0.0.0/8`, `10.0.0.1`, `example.org` (the name and its subdomains), `.example.org` and `*.example.org`
/// (subdomains alone); all but a network may end with a port.
fn matches_entry(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry.contains('/') {
        return address.zip(entry.parse::<IpNet>().ok()).is_some_and(|(address, network)| network.contains(&address));
    }
    let (name, wanted) = match entry.rsplit_once(':') {
        // Colons of an IPv6 address do not begin a port.
        Some((name, digits)) if !name.contains(':') || name.ends_with(']') => (name, digits.parse().ok()),
        _ => (entry, None),
    };
    if wanted.is_some_and(|wanted: u16| wanted != port) {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    if let Ok(wanted) = name.parse::<IpAddr>() {
        return address == Some(wanted);
    }
    match name.trim_start_matches('*').strip_prefix('.') {
        Some(below) => host.strip_suffix(below).is_some_and(|rest| rest.ends_with('.')),
        None => host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_named_by_no_proxy_is_connected_directly() {
        for (no_proxy, host) in [
            ("*", "api.shop.example"),
            ("shop.example", "api.shop.example"),
            ("shop.example", "shop.example"),
            (" other , .shop.EXAMPLE ,", "api.shop.example"),
            ("*.shop.example", "api.shop.example"),
            ("shop.example:6443", "api.shop.example"),
            ("10.0.0.0/8", "10.99.0.1"),
            ("10.99.0.1", "10.99.0.1"),
            ("10.99.0.1:6443", "10.99.0.1"),
            ("fd00:99::/64", "fd00:99::1"),
            ("[fd00:99::1]:6443", "fd00:99::1"),
            ("fd00:99::1", "fd00:99::1"),
            ("0.0.0.0/0", "192.0.2.7"),
        ] {
            assert!(is_direct(no_proxy, host, 6443), "{no_proxy} and {host}");
        }
    }

    #[test]
    fn other_servers_are_connected_through_the_proxy() {
        for (no_proxy, host) in [
            ("", "api.shop.example"),
            ("shop.example", "workshop.example"),
            (".shop.example", "shop.example"),
            ("shop.example:443", "api.shop.example"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/8", "api.shop.example"),
            ("10.99.0.1", "10.99.0.10"),
            ("::/0", "10.99.0.1"),
            ("fd00:99::/64", "fd00:98::1"),
        ] {
            assert!(!is_direct(no_proxy, host, 6443), "{no_proxy} and {host}");
        }
    }

    #[test]
    fn this_machine_is_never_connected_through_a_proxy() {
        for host in ["localhost", "127.0.0.1", "127.8.9.1", "::1"] {
            assert!(is_direct("", host, 6443), "{host}");
        }
    }

    #[test]
    fn proxy_of_the_kubeconfig_stays() {
        let mut config = Config::new("https://127.0.0.1:6443".parse().unwrap());
        config.proxy_url = Some("http://proxy.of.the.kubeconfig.example:3128".parse().unwrap());
        apply_no_proxy(&mut config);
        assert!(config.proxy_url.is_some());
    }

    #[test]
    fn client_is_built_for_a_cluster_behind_a_proxy() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let mut config = Config::new("https://192.0.2.7:6443".parse().unwrap());
        config.proxy_url = Some("http://user:secret@proxy.example:3128".parse().unwrap());
        kube::Client::try_from(config).map(drop).unwrap();
    }
}
