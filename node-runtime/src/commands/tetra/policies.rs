//! `tetra tracingpolicy list`: the table and the JSON of Tetragon's client.

use anyhow::Context;
use trilobite_api::{
    json,
    tetragon::{
        ListDomainsRequest, ListTracingPoliciesRequest, TracingPolicyActionCounters, TracingPolicyState,
        TracingPolicyStatus,
    },
};

use super::{
    args::{ConnectionArguments, ListFormat, PolicyCommand},
    connection::{connect, print},
};

const HEADER: [&str; 12] = [
    "ID",
    "NAME",
    "DOMAIN",
    "STATE",
    "FILTERID",
    "NAMESPACE",
    "SENSORS",
    "KERNELMEMORY",
    "MODE",
    "NPOST",
    "NENFORCE",
    "NMONITOR",
];
/// Blanks between columns.
const PADDING: usize = 3;

pub(super) async fn execute(command: &PolicyCommand, connection: &ConnectionArguments) -> anyhow::Result<()> {
    let mut client = connect(connection).await?;
    match command {
        PolicyCommand::List { output, domain } => {
            let request = ListTracingPoliciesRequest { domain: domain.clone() };
            let policies = client.list_tracing_policies(request).await.context("failed to list tracing policies")?;
            let policies = policies.into_inner();
            match output {
                ListFormat::Json => print(&format!("{}\n", json::to_string(&policies))),
                ListFormat::Text => print(&table(&policies.policies)),
            }
        }
        PolicyCommand::Domains => {
            let domains = client.list_domains(ListDomainsRequest {}).await.context("failed to list domains")?;
            print(&format!("[{}]\n", domains.into_inner().domains.join(" ")))
        }
    }
}

fn table(policies: &[TracingPolicyStatus]) -> String {
    let header = HEADER.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(policies.iter().map(cells)).collect();
    let lines = align(&rows);
    let indent = lines.first().and_then(|header| header.find(HEADER[1])).unwrap_or_default();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        text.push_str(line);
        text.push('\n');
        let Some(policy) = at.checked_sub(1).and_then(|at| policies.get(at)) else { continue };
        if policy.state() == TracingPolicyState::TpStatePartiallyEnabled {
            for line in align(&hook_cells(policy)) {
                text.push_str(&format!("{:indent$}{line}\n", ""));
            }
        }
    }
    text
}

fn cells(policy: &TracingPolicyStatus) -> Vec<String> {
    let counters = policy.stats.as_ref().and_then(|stats| stats.action_counters).unwrap_or_default();
    let TracingPolicyActionCounters {
        post,
        signal,
        monitor_signal,
        r#override,
        monitor_override,
        notify_enforcer,
        monitor_notify_enforcer,
        set,
        monitor_set,
        ..
    } = counters;
    let word = |name: &str, prefix: &str| name.to_lowercase().trim_start_matches(prefix).to_owned();
    vec![
        policy.id.to_string(),
        policy.name.clone(),
        policy.domain.clone(),
        word(policy.state().as_str_name(), "tp_state_"),
        policy.filter_id.to_string(),
        if policy.namespace.is_empty() { "(global)".to_owned() } else { policy.namespace.clone() },
        policy.sensors.join(","),
        byte_count(policy.kernel_memory_bytes),
        word(policy.mode().as_str_name(), "tp_mode_"),
        post.to_string(),
        (signal + r#override + notify_enforcer + set).to_string(),
        (monitor_signal + monitor_override + monitor_notify_enforcer + monitor_set).to_string(),
    ]
}

fn hook_cells(policy: &TracingPolicyStatus) -> Vec<Vec<String>> {
    let header = ["SECTION", "HOOK", "STATE"].map(str::to_owned).to_vec();
    let row = |hook: &trilobite_api::tetragon::HookStatus| {
        let state = hook.state().as_str_name().to_lowercase().trim_start_matches("status_").to_owned();
        vec![hook.section.clone(), hook.hook_description.clone(), state]
    };
    std::iter::once(header).chain(policy.hook_statuses.iter().map(row)).collect()
}

/// Columns of equal width; the last cell of a row is not padded.
fn align(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < row.len() {
                let blanks = widths[column] + PADDING - cell.chars().count();
                line.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        line
    };
    rows.iter().map(line).collect()
}

/// With the decimal units of Tetragon's client.
fn byte_count(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut size, mut unit) = (bytes as f64 / 1000.0, 'k');
    for next in ['M', 'G', 'T', 'P', 'E'] {
        if size < 1000.0 {
            break;
        }
        (size, unit) = (size / 1000.0, next);
    }
    format!("{size:.2} {unit}B")
}

#[cfg(test)]
mod tests {
    use trilobite_api::tetragon::{HookState, HookStatus, TracingPolicyMode, TracingPolicyStats};

    use super::*;

    #[test]
    fn table_has_the_columns_of_tetra_and_the_hooks_of_a_partial_policy() {
        let counters = TracingPolicyActionCounters { post: 12, signal: 3, monitor_signal: 1, ..Default::default() };
        let hook = |name: &str, state: HookState| HookStatus {
            section: "kprobes".into(),
            state: state.into(),
            hook_description: name.into(),
            hook_idx: 0,
        };
        let policy = TracingPolicyStatus {
            id: 9,
            name: "egress".into(),
            sensors: vec!["generic_kprobe".into()],
            state: TracingPolicyState::TpStatePartiallyEnabled.into(),
            kernel_memory_bytes: 8_400_000,
            mode: TracingPolicyMode::TpModeMonitorOnly.into(),
            stats: Some(TracingPolicyStats { action_counters: Some(counters), ..Default::default() }),
            domain: "k8s".into(),
            hook_statuses: vec![
                hook("tcp_connect", HookState::StatusLoaded),
                hook("gone", HookState::StatusCallNotFound),
            ],
            ..Default::default()
        };
        let expected = "\
ID   NAME     DOMAIN   STATE               FILTERID   NAMESPACE   SENSORS          KERNELMEMORY   MODE           NPOST   NENFORCE   NMONITOR
9    egress   k8s      partially_enabled   0          (global)    generic_kprobe   8.40 MB        monitor_only   12      3          1
     SECTION   HOOK          STATE
     kprobes   tcp_connect   loaded
     kprobes   gone          call_not_found
";
        assert_eq!(table(&[policy]), expected);
    }

    #[test]
    fn bytes_have_decimal_units() {
        assert_eq!(
            [0, 999, 1000, 4096, 1_500_000_000].map(byte_count),
            ["0 B", "999 B", "1.00 kB", "4.10 kB", "1.50 GB"]
        );
    }
}
