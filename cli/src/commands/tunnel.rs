//! `trilobite tunnel NODE`: a port of this machine; each connection to it is joined to the node's agent by an exec of its
//! own. Whoever can connect to 127.0.0.1 here reads with the rights of whoever runs the tunnel.

use std::io::{self, Write};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use super::{interrupt::interrupted, print};
use crate::{
    agent::{Place, Reach},
    args::TunnelArguments,
    failure::Failure,
};

pub(super) async fn run(arguments: &TunnelArguments, reach: &Reach, out: &mut dyn Write) -> Result<(), Failure> {
    let place = place(reach, arguments.node.as_deref()).await?;
    // Opened once before anybody is told of a port that leads nowhere.
    place.connect().await?;
    let (listener, port) = listen(arguments.port).await?;
    print(out, &format!("tetra --server-address localhost:{port} getevents -o compact"))?;
    print(out, &format!("hubble --server localhost:{port} observe --follow"))?;
    eprintln!("127.0.0.1:{port} leads to the agent of {}; Ctrl-C ends it", place.name);
    tokio::select! {
        ended = serve(listener, reach, arguments.node.as_deref()) => Err(Failure::Listen { port, source: ended }),
        () = interrupted() => Ok(()),
    }
}

/// Where the node's agent is now: a rollout gives it another pod.
async fn place(reach: &Reach, node: Option<&str>) -> Result<Place, Failure> {
    reach.places(node).await?.0.into_iter().next().ok_or(Failure::AllEnded)
}

async fn listen(port: u16) -> Result<(TcpListener, u16), Failure> {
    let failed = |source| Failure::Listen { port, source };
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// Joins connections until no more can be taken.
async fn serve(listener: TcpListener, reach: &Reach, node: Option<&str>) -> io::Error {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let (reach, node) = (reach.clone(), node.map(str::to_owned));
                tokio::spawn(async move {
                    if let Err(error) = join(client, &reach, node.as_deref()).await {
                        eprintln!("warning: {error}");
                    }
                });
            }
            Err(error) => return error,
        }
    }
}

async fn join(mut client: TcpStream, reach: &Reach, node: Option<&str>) -> Result<(), Failure> {
    let place = place(reach, node).await?;
    let mut agent = place.way.open().await.map_err(|error| place.unreachable(&error))?;
    match copy_bidirectional(&mut client, &mut agent).await {
        Ok(_) => Ok(()),
        // Clients leave without a word.
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => Ok(()),
        Err(error) => Err(place.unreachable(&error).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc, Mutex,
            atomic::{AtomicU32, Ordering},
        },
    };

    use futures::{StreamExt, future::ready};
    use kube::{Client, client::Body};
    use serde_json::json;
    use tokio::io::AsyncReadExt;
    use tonic::{
        codegen::http::{Request, Response},
        transport::Endpoint,
    };

    use super::*;
    use crate::{
        agent::fake::{FakeAgent, exec_in},
        proto::tetragon::{GetEventsRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient},
    };

    #[tokio::test]
    async fn a_client_of_the_port_reads_from_the_agent_and_a_second_one_too() {
        let agent = FakeAgent::with_events(vec![exec_in("shop", "till-1")]);
        let reach = agent.reach();
        let (listener, port) = listen(0).await.unwrap();
        let serving = tokio::spawn(async move { serve(listener, &reach, None).await });
        for _ in 0..2 {
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
            let mut client = FineGuidanceSensorsClient::new(endpoint.connect().await.unwrap());
            let mut events = client.get_events(GetEventsRequest::default()).await.unwrap().into_inner();
            assert_eq!(events.next().await.unwrap().unwrap(), exec_in("shop", "till-1"));
        }
        serving.abort();
    }

    /// An API server whose DaemonSet has another pod at every look, and that refuses every exec; it keeps what it was asked.
    fn rolling_out(asked: Arc<Mutex<Vec<String>>>) -> Client {
        let looks = AtomicU32::new(0);
        let answer = move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let pod = json!({
                "metadata": {"name": format!("agent-{}", looks.load(Ordering::Relaxed))},
                "spec": {"nodeName": "alder", "containers": [{"name": "agent"}]},
                "status": {"phase": "Running"},
            });
            let (status, body) = match path.ends_with("/exec") {
                true => (403, json!({})),
                false => (200, json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [pod]})),
            };
            looks.fetch_add(u32::from(status == 200), Ordering::Relaxed);
            asked.lock().unwrap().push(path);
            let body = Body::from(body.to_string().into_bytes());
            ready(Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap()))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn each_connection_finds_the_pod_that_the_node_has_by_then() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let reach = Reach::Cluster { client: rolling_out(Arc::clone(&asked)), namespace: "fossils".into() };
        let (listener, port) = listen(0).await.unwrap();
        let serving = tokio::spawn(async move { serve(listener, &reach, Some("alder")).await });
        for _ in 0..2 {
            let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "the exec was refused");
        }
        serving.abort();
        let execs: Vec<String> = asked.lock().unwrap().iter().filter(|path| path.ends_with("/exec")).cloned().collect();
        let of = |pod: &str| format!("/api/v1/namespaces/fossils/pods/{pod}/exec");
        assert_eq!(execs, [of("agent-0"), of("agent-1")]);
    }

    #[tokio::test]
    async fn a_tunnel_to_nothing_is_refused_before_a_port_is_told() {
        let place = FakeAgent::with_events(Vec::new()).gone();
        let mut out = Vec::new();
        let arguments = TunnelArguments { node: None, port: 0 };
        let failure = run(&arguments, &Reach::Socket(place), &mut out).await.unwrap_err();
        assert!(failure.to_string().contains("cannot reach the agent"), "{failure}");
        assert!(out.is_empty());
    }
}
