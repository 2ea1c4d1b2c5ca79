//! `trilobite tunnel NODE`: a port of this machine; each connection to it is joined to the node's agent by an exec of its
//! own. Whoever can connect to 127.0.0.1 here reads with the rights of whoever runs the tunnel.

use std::io::{self, Write};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use super::{interrupt::interrupted, print};
use crate::{
    agent::{AgentError, Place, Reach},
    args::TunnelArguments,
    failure::Failure,
};

pub(super) async fn run(arguments: &TunnelArguments, reach: &Reach, out: &mut dyn Write) -> Result<(), Failure> {
    let (places, _) = reach.places(arguments.node.as_deref()).await?;
    let Some(place) = places.into_iter().next() else { return Err(Failure::AllEnded) };
    // Opened once before anybody is told of a port that leads nowhere.
    place.connect().await?;
    let (listener, port) = listen(arguments.port).await?;
    print(out, &format!("tetra --server-address localhost:{port} getevents -o compact"))?;
    print(out, &format!("hubble --server localhost:{port} observe --follow"))?;
    eprintln!("127.0.0.1:{port} leads to the agent of {}; Ctrl-C ends it", place.name);
    tokio::select! {
        ended = serve(listener, place) => Err(Failure::Listen { port, source: ended }),
        () = interrupted() => Ok(()),
    }
}

async fn listen(port: u16) -> Result<(TcpListener, u16), Failure> {
    let failed = |source| Failure::Listen { port, source };
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// Joins connections until no more can be taken.
async fn serve(listener: TcpListener, place: Place) -> io::Error {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let place = place.clone();
                tokio::spawn(async move {
                    if let Err(error) = join(client, &place).await {
                        eprintln!("warning: {error}");
                    }
                });
            }
            Err(error) => return error,
        }
    }
}

async fn join(mut client: TcpStream, place: &Place) -> Result<(), AgentError> {
    let mut agent = place.way.open().await.map_err(|error| place.unreachable(&error))?;
    match copy_bidirectional(&mut client, &mut agent).await {
        Ok(_) => Ok(()),
        // Clients leave without a word.
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => Ok(()),
        Err(error) => Err(place.unreachable(&error)),
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tonic::transport::Endpoint;

    use super::*;
    use crate::{
        agent::fake::{FakeAgent, exec_in},
        proto::tetragon::{GetEventsRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient},
    };

    #[tokio::test]
    async fn a_client_of_the_port_reads_from_the_agent_and_a_second_one_too() {
        let agent = FakeAgent::with_events(vec![exec_in("shop", "till-1")]);
        let place = agent.place();
        let (listener, port) = listen(0).await.unwrap();
        let serving = tokio::spawn(serve(listener, place));
        for _ in 0..2 {
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
            let mut client = FineGuidanceSensorsClient::new(endpoint.connect().await.unwrap());
            let mut events = client.get_events(GetEventsRequest::default()).await.unwrap().into_inner();
            assert_eq!(events.next().await.unwrap().unwrap(), exec_in("shop", "till-1"));
        }
        serving.abort();
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
