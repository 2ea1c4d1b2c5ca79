//! An agent for tests: the real services on a unix socket, with events and flows that are given.

mod services;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use trilobite_api::{
    observer::{GetFlowsRequest, GetFlowsResponse},
    requests::{GetRequestsRequest, GetRequestsResponse},
    tetragon::GetEventsResponse,
};

use self::services::{Answers, router};
pub(crate) use self::services::{exec_in, flow_at, request_at};
use super::{
    stream::Route,
    transport::{AgentAddress, Transport},
};

/// An agent on a socket for tests; removes the socket's file when it is dropped.
pub(crate) struct FakeAgent {
    path: PathBuf,
    answers: Arc<parking_lot::Mutex<Answers>>,
    serving: tokio::task::JoinHandle<()>,
}

impl FakeAgent {
    pub(crate) fn with_events(events: Vec<GetEventsResponse>) -> Self {
        Self::start(Answers { events, ..Answers::default() })
    }

    pub(crate) fn with_flows(flows: Vec<GetFlowsResponse>) -> Self {
        Self::start(Answers { flows, ..Answers::default() })
    }

    pub(crate) fn with_requests(requests: Vec<GetRequestsResponse>) -> Self {
        Self::start(Answers { requests, ..Answers::default() })
    }

    /// One profile under any name; half of its stacks are truncated.
    pub(crate) fn with_profile(folded: &'static str, samples: u64) -> Self {
        Self::start(Answers { folded, samples, ..Answers::default() })
    }

    /// Ends the stream after the last event.
    pub(crate) fn that_stops(self) -> Self {
        self.answers.lock().stops = true;
        self
    }

    /// Answers INVALID_ARGUMENT.
    pub(crate) fn that_refuses(self, why: &'static str) -> Self {
        self.answers.lock().refuses = Some(why);
        self
    }

    /// The latest request for flows.
    pub(crate) fn requested_flows(&self) -> Option<GetFlowsRequest> {
        self.answers.lock().requested_flows.clone()
    }

    /// The latest request for requests.
    pub(crate) fn requested_requests(&self) -> Option<GetRequestsRequest> {
        self.answers.lock().requested_requests.clone()
    }

    pub(crate) fn transport(&self) -> Transport {
        Transport::Socket(self.address())
    }

    pub(crate) fn address(&self) -> AgentAddress {
        AgentAddress { name: "alder".into(), route: Route::Socket(self.path.clone()), next: "start it".into() }
    }

    /// The address of an agent that has stopped.
    pub(crate) fn gone(self) -> AgentAddress {
        self.address()
    }

    fn start(answers: Answers) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("trilobite-fake-{}-{number}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let answers = Arc::new(parking_lot::Mutex::new(answers));
        let router = router(Arc::clone(&answers));
        let serving = tokio::spawn(async move {
            router.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        });
        Self { path, answers, serving }
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.serving.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}
