//! `NO_PROXY`: whether the API server is asked directly though a proxy is set, by the rules that kubectl has. kube asks it of
//! the proxy's own address instead of the server's.

use std::{
    env,
    net::{IpAddr, Ipv6Addr},
};

use kube::Config;

/// Takes a proxy that the environment gave out of `config` where the environment says that this server needs none. One
/// that the kubeconfig names for its cluster stays.
pub(crate) fn heed_no_proxy(config: &mut Config) {
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

/// Whether `no_proxy` or the host itself say so.
fn is_direct(no_proxy: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.').to_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    host == "localhost"
        || address.is_some_and(|address| address.is_loopback())
        || no_proxy.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
            let entry = entry.to_lowercase();
            entry == "*" || holds(&entry, &host, address, port)
        })
}

/// `10.0.0.0/8`, `10.0.0.1`, `example.org` with all below it, `.example.org` and `*.example.org` with what is below alone;
/// each but the first may end with a port.
fn holds(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if let Some((network, bits)) = entry.split_once('/') {
        let network: Option<(IpAddr, u32)> = network.parse().ok().zip(bits.parse().ok());
        return address.zip(network).is_some_and(|(address, network)| is_within(address, network));
    }
    let (name, wanted) = match entry.rsplit_once(':') {
        // The colons of an address are no port's.
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

fn is_within(address: IpAddr, (network, bits): (IpAddr, u32)) -> bool {
    // An IPv4 address in the last 32 bits, under so many of the mask's own.
    let whole = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 96),
        IpAddr::V6(v6) => (u128::from(v6), 0),
    };
    let ((address, family), (network, other)) = (whole(address), whole(network));
    let rest = Ipv6Addr::BITS.saturating_sub(family + bits);
    family == other && (address ^ network).checked_shr(rest).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_no_proxy_names_is_asked_directly() {
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
    fn another_server_is_asked_through_the_proxy() {
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
    fn this_machine_is_never_asked_through_a_proxy() {
        for host in ["localhost", "127.0.0.1", "127.8.9.1", "::1"] {
            assert!(is_direct("", host, 6443), "{host}");
        }
    }

    #[test]
    fn a_proxy_that_the_kubeconfig_names_stays() {
        let mut config = Config::new("https://127.0.0.1:6443".parse().unwrap());
        config.proxy_url = Some("http://proxy.of.the.kubeconfig.example:3128".parse().unwrap());
        heed_no_proxy(&mut config);
        assert!(config.proxy_url.is_some());
    }

    #[test]
    fn a_client_is_made_for_a_cluster_behind_a_proxy() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let mut config = Config::new("https://192.0.2.7:6443".parse().unwrap());
        config.proxy_url = Some("http://user:secret@proxy.example:3128".parse().unwrap());
        kube::Client::try_from(config).map(drop).unwrap();
    }
}
