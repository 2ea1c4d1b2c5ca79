//! Which way a command reads: by the read API where the cluster serves it, otherwise by the agents themselves, which takes the
//! rights of an administrator.

use crate::{
    agent::Transport,
    output::stderr::stderr_line,
    read_api::{Coverage, Discovery, ReadApi},
};

/// The read API, or none where the agents are read directly. Says which with `verbose`.
pub(super) async fn find_read_api(transport: &Transport, verbose: bool) -> Option<ReadApi> {
    let Transport::Cluster { client, namespace } = transport else { return None };
    let (api, way) = match ReadApi::discover(client).await {
        Discovery::Served(api) => (Some(api), "reading through the API server: read.trilobite.dev".to_owned()),
        Discovery::Absent(why) => {
            (None, format!("reading from the agents by pods/exec in namespace {namespace}: {why}"))
        }
    };
    if verbose {
        stderr_line!("{way}");
    }
    api
}

/// Reports what an answer does not cover; each state once.
#[derive(Default)]
pub(super) struct CoverageReport {
    reported: Option<String>,
}

impl CoverageReport {
    pub(super) fn report(&mut self, coverage: &Coverage) {
        let warning = coverage.warning();
        if warning == self.reported {
            return;
        }
        match &warning {
            Some(warning) => stderr_line!("warning: {warning}"),
            None => stderr_line!("all nodes answer again"),
        }
        self.reported = warning;
    }
}
