//! Arguments as filters of GetFlows. Pure.

use regex::Regex;
use trilobite_api::flow::{FlowFilter, NetworkInterface};

use crate::args::FlowFilterArgs;

/// Filters are alternatives, and the fields of one must all match. What may be at either end is in one filter for the source
/// and in one for the destination, so that every combination of ends is a filter. None for all flows.
pub(super) fn filters(arguments: &FlowFilterArgs) -> Vec<FlowFilter> {
    let FlowFilterArgs {
        namespace,
        from_namespace,
        to_namespace,
        pod,
        from_pod,
        to_pod,
        service,
        from_service,
        to_service,
        workload,
        from_workload,
        to_workload,
        label,
        from_label,
        to_label,
        fqdn,
        from_fqdn,
        to_fqdn,
        identity,
        from_identity,
        to_identity,
        ip,
        from_ip,
        to_ip,
        port,
        from_port,
        to_port,
        protocol,
        tcp_flags,
        http_status,
        http_method,
        http_path,
        http_url,
        http_header,
        r#type,
        verdict,
        drop_reason_desc,
        traffic_direction,
        reply: _,
        not_reply: _,
        ipv4: _,
        ipv6: _,
        interface,
        uuid,
        node: _,
    } = arguments;
    let texts = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>();
    let mut filters = vec![FlowFilter {
        source_pod: pods(from_namespace, from_pod),
        destination_pod: pods(to_namespace, to_pod),
        source_service: from_service.clone(),
        destination_service: to_service.clone(),
        source_workload: from_workload.clone(),
        destination_workload: to_workload.clone(),
        source_label: from_label.clone(),
        destination_label: to_label.clone(),
        source_fqdn: from_fqdn.clone(),
        destination_fqdn: to_fqdn.clone(),
        source_identity: from_identity.clone(),
        destination_identity: to_identity.clone(),
        source_ip: from_ip.clone(),
        destination_ip: to_ip.clone(),
        source_port: texts(from_port),
        destination_port: texts(to_port),
        protocol: protocol.iter().map(|protocol| protocol.as_str().to_owned()).collect(),
        tcp_flags: tcp_flags.clone(),
        http_status_code: http_status.clone(),
        http_method: http_method.clone(),
        http_path: patterns(http_path),
        http_url: patterns(http_url),
        http_header: http_header.clone(),
        event_type: r#type.clone(),
        verdict: verdict.iter().map(|verdict| verdict.number()).collect(),
        drop_reason_desc: drop_reason_desc.iter().map(|reason| (*reason).into()).collect(),
        traffic_direction: traffic_direction.iter().map(|direction| direction.number()).collect(),
        reply: arguments.replies(),
        ip_version: arguments.ip_versions(),
        interface: interface.iter().map(|name| NetworkInterface { name: name.clone(), index: 0 }).collect(),
        uuid: uuid.clone(),
        ..FlowFilter::default()
    }];
    at_either_end(&mut filters, &pods(namespace, pod), |to| &mut to.source_pod, |to| &mut to.destination_pod);
    at_either_end(&mut filters, service, |to| &mut to.source_service, |to| &mut to.destination_service);
    at_either_end(&mut filters, workload, |to| &mut to.source_workload, |to| &mut to.destination_workload);
    at_either_end(&mut filters, label, |to| &mut to.source_label, |to| &mut to.destination_label);
    at_either_end(&mut filters, fqdn, |to| &mut to.source_fqdn, |to| &mut to.destination_fqdn);
    at_either_end(&mut filters, identity, |to| &mut to.source_identity, |to| &mut to.destination_identity);
    at_either_end(&mut filters, ip, |to| &mut to.source_ip, |to| &mut to.destination_ip);
    at_either_end(&mut filters, &texts(port), |to| &mut to.source_port, |to| &mut to.destination_port);
    filters.retain(|filter| *filter != FlowFilter::default());
    filters
}

fn patterns(patterns: &[Regex]) -> Vec<String> {
    patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect()
}

/// `NAMESPACE/PREFIX`, where either may be empty. A pod without a namespace is of one of those that are given, or of any.
fn pods(namespaces: &[String], pods: &[String]) -> Vec<String> {
    if pods.is_empty() {
        return namespaces.iter().map(|namespace| format!("{namespace}/")).collect();
    }
    let any = [String::new()];
    let namespaces = if namespaces.is_empty() { &any } else { namespaces };
    let mut names = Vec::new();
    for pod in pods {
        match pod.split_once('/') {
            Some((namespace, _)) if !namespace.is_empty() => names.push(pod.clone()),
            Some((_, prefix)) => names.extend(namespaces.iter().map(|namespace| format!("{namespace}/{prefix}"))),
            None => names.extend(namespaces.iter().map(|namespace| format!("{namespace}/{pod}"))),
        }
    }
    names
}

/// The one namespace that has a pod at an end of every flow that is wanted, if there is one.
pub(super) fn common_namespace(arguments: &FlowFilterArgs) -> Option<String> {
    let FlowFilterArgs { namespace, from_namespace, to_namespace, pod, from_pod, to_pod, .. } = arguments;
    [pods(namespace, pod), pods(from_namespace, from_pod), pods(to_namespace, to_pod)].into_iter().find_map(|names| {
        let mut namespaces = names.iter().map(|name| name.split('/').next().unwrap_or_default());
        let first = namespaces.next().filter(|first| !first.is_empty())?;
        namespaces.all(|other| other == first).then(|| first.to_owned())
    })
}

/// Each filter once with `wanted` at the source and once at the destination.
fn at_either_end<T: Clone>(
    filters: &mut Vec<FlowFilter>,
    wanted: &[T],
    source: fn(&mut FlowFilter) -> &mut Vec<T>,
    destination: fn(&mut FlowFilter) -> &mut Vec<T>,
) {
    if wanted.is_empty() {
        return;
    }
    let mut others = filters.clone();
    filters.iter_mut().for_each(|filter| *source(filter) = wanted.to_vec());
    others.iter_mut().for_each(|filter| *destination(filter) = wanted.to_vec());
    filters.append(&mut others);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    fn arguments(line: &str) -> FlowFilterArgs {
        let line = format!("trilobite observe {line}");
        let Command::Observe(observe) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        observe.filter
    }

    #[test]
    fn either_end_makes_every_combination_of_ends() {
        let filters = filters(&arguments("-n shop --port 80,443 --to-ip 10.0.0.0/8 --verdict dropped"));
        assert_eq!(filters.len(), 4);
        for filter in &filters {
            assert_eq!([&filter.source_pod[..], &filter.destination_pod[..]].concat(), ["shop/"]);
            assert_eq!([&filter.source_port[..], &filter.destination_port[..]].concat(), ["80", "443"]);
            assert_eq!((&filter.source_ip[..], &filter.destination_ip[..]), (&[][..], &["10.0.0.0/8".to_owned()][..]));
            assert_eq!(filter.verdict, [2]);
        }
    }

    #[test]
    fn pod_without_a_namespace_is_of_the_given_ones_or_of_any() {
        for (line, expected) in [
            ("--from-pod till", &["/till"][..]),
            ("--from-pod shop/till", &["shop/till"]),
            ("--from-namespace shop --from-namespace reef --from-pod till", &["shop/till", "reef/till"]),
            ("--from-namespace shop --from-pod /till", &["shop/till"]),
            ("--from-namespace shop --from-pod reef/till", &["reef/till"]),
            ("--from-namespace shop", &["shop/"]),
        ] {
            assert_eq!(filters(&arguments(line))[0].source_pod, expected, "{line}");
        }
    }

    #[test]
    fn read_api_is_asked_for_a_namespace_that_all_flows_share() {
        for (line, expected) in [
            ("-n shop", Some("shop")),
            ("-n shop -n reef", None),
            ("--pod shop/till --pod shop/shelf", Some("shop")),
            ("--pod till", None),
            ("--from-pod till --to-namespace shop", Some("shop")),
            ("--port 80", None),
        ] {
            assert_eq!(common_namespace(&arguments(line)).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn other_flags_are_fields_of_one_filter() {
        let line = "--type drop:133 --tcp-flags syn,ack --reply -6 --interface eth0 --drop-reason-desc policy_denied \
                    --from-workload Deployment/till --to-label app=cart --from-identity world --protocol icmp";
        let [filter] = &filters(&arguments(line))[..] else { panic!("not one filter") };
        assert_eq!((filter.event_type[0].r#type, filter.event_type[0].sub_type), (1, 133));
        assert!(filter.tcp_flags[0].syn && filter.tcp_flags[0].ack && !filter.tcp_flags[0].fin);
        assert_eq!(
            (&filter.reply[..], &filter.ip_version[..], &filter.drop_reason_desc[..]),
            (&[true][..], &[2][..], &[133][..])
        );
        assert_eq!(
            (filter.interface[0].name.as_str(), filter.source_workload[0].kind.as_str()),
            ("eth0", "Deployment")
        );
        assert_eq!(
            (&filter.destination_label[..], &filter.source_identity[..]),
            (&["app=cart".to_owned()][..], &[2][..])
        );
        assert_eq!(filter.protocol, ["icmp"]);
    }

    #[test]
    fn a_pod_is_looked_for_at_both_ends() {
        let filters = filters(&arguments("--pod shop/till --protocol udp"));
        assert_eq!(filters[0].source_pod, ["shop/till"]);
        assert_eq!(filters[1].destination_pod, ["shop/till"]);
        assert!(filters.iter().all(|filter| filter.protocol == ["udp"]));
    }

    #[test]
    fn each_combination_of_ends_is_a_filter() {
        let filters = filters(&arguments("--pod shop/till --port 80,443 --ip fd00:0::7"));
        assert_eq!(filters.len(), 8);
        let to_port = |filter: &&FlowFilter| !filter.source_pod.is_empty() && !filter.destination_port.is_empty();
        let till_asks: Vec<&FlowFilter> = filters.iter().filter(to_port).collect();
        assert_eq!(till_asks.len(), 2, "the address at either end");
        assert_eq!(till_asks[0].destination_port, ["80", "443"]);
        assert!(filters.iter().any(|filter| filter.destination_ip == ["fd00::7"]));
    }

    #[test]
    fn verdict_and_direction_are_sent_to_the_agents() {
        let filters = filters(&arguments("--verdict DROPPED,forwarded --traffic-direction Ingress"));
        assert_eq!(filters.len(), 1);
        assert_eq!(filters[0].verdict, [2, 1]);
        assert_eq!(filters[0].traffic_direction, [1]);
        assert!(super::filters(&arguments("")).is_empty());
    }
}
