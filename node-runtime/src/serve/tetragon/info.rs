//! What the agent says of itself: GetVersion, GetInfo, GetHealth and GetDebug.

use std::sync::Arc;

use prost::Message;
use tokio::sync::watch;
use tonic::Status;
use tracing::level_filters::LevelFilter;
use trilobite_api::tetragon::{
    self as api, ConfigFlag, HealthStatusResult, HealthStatusType, LogLevel, get_debug_response,
};

use super::EventEncoder;
use crate::{
    identity::{IdentityService, Located, Process},
    layers::security::policy_report::PolicyReports,
};

#[derive(Clone)]
pub struct AgentInfo {
    pub version: String,
    /// The problem of the agent as a whole, if it has one.
    pub problem: watch::Receiver<Option<String>>,
    pub policies: PolicyReports,
    pub identity: IdentityService,
    /// What was probed at the start, by Tetragon's names.
    pub probes: Vec<(&'static str, bool)>,
}

impl AgentInfo {
    pub(super) fn version(&self) -> api::GetVersionResponse {
        api::GetVersionResponse { version: self.version.clone() }
    }

    pub(super) fn info(&self, encoder: &EventEncoder) -> api::GetInfoResponse {
        let probe = |(name, is_supported): &(&str, bool)| api::get_info_response::Probe {
            name: (*name).to_owned(),
            enabled: Some(*is_supported),
        };
        let settings = [("cluster-name", &encoder.cluster_name), ("node-name", &encoder.node_name)];
        api::GetInfoResponse {
            version: self.version.clone(),
            name: "trilobite-node".to_owned(),
            probes: self.probes.iter().map(probe).collect(),
            conf: settings.into_iter().map(|(key, value)| setting(key, value)).collect(),
            // Clients require it.
            build: Some(api::get_info_response::BuildInfo::default()),
        }
    }

    /// The problem is told in full to a call that may see the whole cluster: it may name a resource of any namespace.
    pub(super) fn health(&self, is_whole_cluster: bool) -> api::GetHealthStatusResponse {
        let problem = self.problem.borrow().clone();
        let problem = if is_whole_cluster { problem } else { problem.map(|_| "degraded".to_owned()) };
        let status = match &problem {
            Some(_) => HealthStatusResult::HealthStatusError,
            None => HealthStatusResult::HealthStatusRunning,
        };
        let health = api::HealthStatus {
            event: HealthStatusType::Status.into(),
            status: status.into(),
            details: problem.unwrap_or_else(|| "running".to_owned()),
        };
        api::GetHealthStatusResponse { health_status: vec![health] }
    }

    pub(super) fn debug(
        &self,
        request: &api::GetDebugRequest,
        encoder: &EventEncoder,
    ) -> Result<api::GetDebugResponse, Status> {
        let arg = match ConfigFlag::try_from(request.flag) {
            Ok(ConfigFlag::LogLevel) => get_debug_response::Arg::Level(log_level().into()),
            Ok(ConfigFlag::DumpProcessCache) => get_debug_response::Arg::Processes(self.processes(encoder)),
            Err(_) => return Err(Status::invalid_argument(format!("flag: there is no flag {}", request.flag))),
        };
        Ok(api::GetDebugResponse { flag: request.flag, arg: Some(arg) })
    }

    /// The oldest ones where there are very many.
    fn processes(&self, encoder: &EventEncoder) -> api::DumpProcessCacheResArgs {
        let known = self.identity.known_processes(u64::MAX);
        let process = |process: Arc<Process>| {
            let owner = self.identity.owner(process.cgroup);
            api::ProcessInternal {
                process: Some(encoder.process_message(&Located::new(process, owner))),
                ..api::ProcessInternal::default()
            }
        };
        api::DumpProcessCacheResArgs { processes: known.into_images().into_iter().map(process).collect() }
    }
}

fn setting(key: &str, value: &str) -> api::get_info_response::ConfVal {
    let value = prost_types::Any {
        type_url: "type.googleapis.com/google.protobuf.StringValue".to_owned(),
        value: value.to_owned().encode_to_vec(),
    };
    api::get_info_response::ConfVal { key: key.to_owned(), value: Some(value) }
}

fn log_level() -> LogLevel {
    match LevelFilter::current().into_level() {
        Some(tracing::Level::TRACE) => LogLevel::Trace,
        Some(tracing::Level::DEBUG) => LogLevel::Debug,
        Some(tracing::Level::INFO) => LogLevel::Info,
        Some(tracing::Level::WARN) => LogLevel::Warn,
        Some(tracing::Level::ERROR) => LogLevel::Error,
        None => LogLevel::Panic,
    }
}
