//! Prints events of the security layer on this machine, without a cluster: `security [SECONDS] [RING_BYTES]`.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use trilobite_crds::node::{PartContent, ProcessesPart, ProfilePartSpec, Source, SourceKind, desired::Desired};
use trilobite_node::{
    identity::IdentityService,
    kernel::{account, probe},
    layers::{
        LayerContext,
        security::{
            Security,
            event_bus::{EventBus, StreamItem},
        },
    },
    loss::Ledger,
    plan::plan,
};

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(10);
    let ring_bytes = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(256 * 1024);
    let facts = Arc::new(probe::facts(None));
    println!("{facts:#?}");
    let ledger = Ledger::default();
    let bus = EventBus::new(ledger.clone());
    let identity = IdentityService::new(facts.clone(), ledger.clone(), false);
    let context = LayerContext {
        node_name: "laptop".into(),
        facts: facts.clone(),
        ledger: ledger.clone(),
        state_dir: std::env::temp_dir(),
    };
    let mut security = Security::new(context, identity.clone(), bus.clone());
    let mut reader = bus.subscribe();
    let content = PartContent::Processes(ProcessesPart { pods: Default::default(), ring_bytes });
    let source =
        Source { kind: SourceKind::ObservabilityStack, namespace: None, name: "default".into(), generation: 1 };
    let desired =
        Desired { parts: vec![ProfilePartSpec { source, digest: "d".into(), content }], ..Desired::default() };
    println!("{:#?}", security.apply(&plan(&desired, &facts, Timestamp::now())).await);
    println!("{:?}", account());
    let end = tokio::time::sleep(Duration::from_secs(seconds));
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            received = reader.next() => match received {
                StreamItem::Event(event) => println!("{event:?}"),
                StreamItem::Lost(place, count) => println!("lost {count}: {}", place.as_str()),
                StreamItem::Gap(gap) => println!("no agent was running: {gap:?}"),
                StreamItem::Closed => break,
            },
        }
    }
    println!("{:?} {:?} {:?}", security.counts(), identity.losses(), ledger.losses());
    println!("{:#?}", security.apply(&plan(&Desired::default(), &facts, Timestamp::now())).await);
    println!("{:?}", account());
}
