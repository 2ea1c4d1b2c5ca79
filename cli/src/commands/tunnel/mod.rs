//! `trilobite tunnel`: a local port behind which all nodes answer as one; with NODE, each connection is forwarded by an
//! exec of its own to that node's agent. Every local process that can connect to 127.0.0.1 reads with the rights of the
//! user who runs the tunnel.

mod gateway;
mod merged;

use std::io::{self, Write};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use super::{agents::connect, failure::Failure, interrupt::interrupted, print::print_line};
use crate::{
    agent::{AgentAddress, Transport},
    args::TunnelArgs,
    output::stderr::stderr_line,
};

pub(super) async fn forward_port(
    arguments: &TunnelArgs,
    transport: &Transport,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    // Connect once first, so that no port is printed that leads nowhere.
    if arguments.node.is_none() && matches!(transport, Transport::Cluster { .. }) {
        let agents = connect(transport, None).await?;
        let nodes: Vec<String> = agents.into_iter().map(|agent| agent.name).collect();
        let (listener, port) = listen(arguments.port).await?;
        print_variables(out, port, &nodes.join(", "))?;
        return tokio::select! {
            served = gateway::serve(listener, transport) => {
                served.map_err(|error| Failure::Listen { port, source: io::Error::other(error) })
            }
            () = interrupted() => Ok(()),
        };
    }
    let address = current_address(transport, arguments.node.as_deref()).await?;
    address.connect().await?;
    let (listener, port) = listen(arguments.port).await?;
    print_variables(out, port, &address.name)?;
    tokio::select! {
        ended = serve(listener, transport, arguments.node.as_deref()) => Err(Failure::Listen { port, source: ended }),
        () = interrupted() => Ok(()),
    }
}

/// Standard output has nothing but the line for a shell's `eval` or `source`.
fn print_variables(out: &mut dyn Write, port: u16, nodes: &str) -> Result<(), Failure> {
    stderr_line!(
        "127.0.0.1:{port} leads to the agents of {nodes}; Ctrl-C ends it. In another terminal, after the next line:"
    );
    stderr_line!("  hubble observe --follow");
    stderr_line!("  tetra --server-address localhost:{port} getevents -o compact");
    // With it `hubble observe -o json` prints flows as articles and scripts of its first years expect them.
    print_line(out, &format!("export HUBBLE_SERVER=localhost:{port} HUBBLE_COMPAT=legacy-json-output"))
}

/// The address of the node's agent now: a rollout replaces its pod.
async fn current_address(transport: &Transport, node: Option<&str>) -> Result<AgentAddress, Failure> {
    transport.addresses(node).await?.0.into_iter().next().ok_or(Failure::AllEnded)
}

async fn listen(port: u16) -> Result<(TcpListener, u16), Failure> {
    let failed = |source| Failure::Listen { port, source };
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// Forwards connections until the listener fails.
async fn serve(listener: TcpListener, transport: &Transport, node: Option<&str>) -> io::Error {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let (transport, node) = (transport.clone(), node.map(str::to_owned));
                tokio::spawn(async move {
                    if let Err(error) = forward(client, &transport, node.as_deref()).await {
                        stderr_line!("warning: {error}");
                    }
                });
            }
            Err(error) => return error,
        }
    }
}

async fn forward(mut client: TcpStream, transport: &Transport, node: Option<&str>) -> Result<(), Failure> {
    let address = current_address(transport, node).await?;
    let mut agent = address.route.open().await.map_err(|error| address.unreachable(&error))?;
    match copy_bidirectional(&mut client, &mut agent).await {
        Ok(_) => Ok(()),
        // Clients may disconnect at any time.
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => Ok(()),
        Err(error) => Err(address.unreachable(&error).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use futures::{StreamExt, future::ready};
    use kube::{Client, client::Body};
    use parking_lot::Mutex;
    use serde_json::json;
    use tokio::io::AsyncReadExt;
    use tonic::{
        codegen::http::{Request, Response},
        transport::Endpoint,
    };
    use trilobite_api::tetragon::{GetEventsRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient};

    use super::*;
    use crate::agent::fake::{FakeAgent, exec_in};

    #[tokio::test]
    async fn two_clients_of_the_port_read_from_the_agent() {
        let agent = FakeAgent::with_events(vec![exec_in("shop", "till-1")]);
        let transport = agent.transport();
        let (listener, port) = listen(0).await.unwrap();
        let serving = tokio::spawn(async move { serve(listener, &transport, None).await });
        for _ in 0..2 {
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
            let mut client = FineGuidanceSensorsClient::new(endpoint.connect().await.unwrap());
            let mut events = client.get_events(GetEventsRequest::default()).await.unwrap().into_inner();
            assert_eq!(events.next().await.unwrap().unwrap(), exec_in("shop", "till-1"));
        }
        serving.abort();
    }

    /// An API server that lists another pod each time and refuses every exec; it records the paths of the requests.
    fn rolling_out(requested: Arc<Mutex<Vec<String>>>) -> Client {
        let lists = AtomicU32::new(0);
        let answer = move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let pod = json!({
                "metadata": {"name": format!("agent-{}", lists.load(Ordering::Relaxed))},
                "spec": {"nodeName": "alder", "containers": [{"name": "agent"}]},
                "status": {"phase": "Running"},
            });
            let (status, body) = match path.ends_with("/exec") {
                true => (403, json!({})),
                false => (200, json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [pod]})),
            };
            lists.fetch_add(u32::from(status == 200), Ordering::Relaxed);
            requested.lock().push(path);
            let body = Body::from(body.to_string().into_bytes());
            ready(Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap()))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn each_connection_finds_the_current_pod_of_the_node() {
        let requested = Arc::new(Mutex::new(Vec::new()));
        let transport = Transport::Cluster { client: rolling_out(Arc::clone(&requested)), namespace: "fossils".into() };
        let (listener, port) = listen(0).await.unwrap();
        let serving = tokio::spawn(async move { serve(listener, &transport, Some("alder")).await });
        for _ in 0..2 {
            let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "the exec was refused");
        }
        serving.abort();
        let execs: Vec<String> = requested.lock().iter().filter(|path| path.ends_with("/exec")).cloned().collect();
        let of = |pod: &str| format!("/api/v1/namespaces/fossils/pods/{pod}/exec");
        assert_eq!(execs, [of("agent-0"), of("agent-1")]);
    }

    #[tokio::test]
    async fn no_port_is_printed_for_an_unreachable_agent() {
        let address = FakeAgent::with_events(Vec::new()).gone();
        let mut out = Vec::new();
        let arguments = TunnelArgs { node: None, port: 0 };
        let failure = forward_port(&arguments, &Transport::Socket(address), &mut out).await.unwrap_err();
        assert!(failure.to_string().contains("cannot reach the agent"), "{failure}");
        assert!(out.is_empty());
    }
}
