//! The bounds of the buffer, its numbering, and when it is emptied.

use crate::layers::network::flow::{
    Interface,
    samples::{drop_by_policy, syn},
};

use super::*;

fn filled(capacity: usize, with: u32) -> FlowBuffer {
    let buffer = FlowBuffer::new(capacity, BYTES);
    for number in 0..with {
        let mut flow = syn();
        flow.interface = Arc::new(Interface { index: number, ..Default::default() });
        buffer.push(Arc::new(flow));
    }
    buffer
}

#[test]
fn slow_reader_learns_how_many_flows_it_missed() {
    let buffer = filled(4, 10);
    let read = buffer.read(2, 100);
    assert_eq!((read.lost, read.next), (4, 10));
    assert_eq!(read.flows.iter().map(|flow| flow.interface.index).collect::<Vec<_>>(), [6, 7, 8, 9]);
}

#[test]
fn reader_at_the_end_gets_nothing_and_stays() {
    let buffer = filled(4, 3);
    let read = buffer.read(3, 100);
    assert_eq!((read.flows.len(), read.lost, read.next), (0, 0, 3));
}

#[test]
fn bytes_are_bounded_as_well() {
    let buffer = FlowBuffer::new(CAPACITY, 10 * size_of::<Flow>());
    for _ in 0..50 {
        buffer.push(Arc::new(syn()));
    }
    assert_eq!((buffer.len(), buffer.capacity(), buffer.seen()), (10, 10, 50));
    buffer.clear();
    // A drop has an event of its own beside the flow.
    for _ in 0..50 {
        buffer.push(Arc::new(drop_by_policy()));
    }
    let fitting = 10 * size_of::<Flow>() / drop_by_policy().bytes();
    assert!(buffer.len() == fitting && fitting < 10, "{} of {fitting}", buffer.len());
}

#[test]
fn namespace_is_forgotten_an_hour_after_its_last_flow() {
    let buffer = filled(4, 1);
    let time = syn().time;
    assert_eq!(buffer.namespaces(time), ["shop", "store"]);
    let later = time.checked_add(NAMESPACE_TTL + SignedDuration::from_secs(1)).unwrap();
    assert!(buffer.namespaces(later).is_empty());
}

#[tokio::test]
async fn flows_stay_readable_for_a_time_after_the_last_capture() {
    let buffer = FlowBuffer { retention: Duration::from_millis(200), ..filled(4, 3) };
    buffer.retire();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(buffer.read(0, 10).flows.len(), 3);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(buffer.is_empty());
}

#[tokio::test]
async fn flows_wanted_again_within_that_time_are_kept() {
    let buffer = FlowBuffer { retention: Duration::from_millis(100), ..filled(4, 3) };
    buffer.retire();
    buffer.revive();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(buffer.len(), 3);
}

#[test]
fn numbers_continue_after_a_clear() {
    let buffer = filled(4, 3);
    buffer.clear();
    assert_eq!(buffer.range(), (3, 3));
    assert_eq!(buffer.read(0, 10).lost, 3);
    buffer.push(Arc::new(syn()));
    assert_eq!(buffer.read(3, 10).flows.len(), 1);
}

#[test]
fn buffer_is_complete_since_flows_are_wanted_or_the_oldest_that_is_kept() {
    let buffer = filled(2, 0);
    assert_eq!(buffer.complete_since(), None);
    buffer.revive();
    let wanted = buffer.complete_since().unwrap();
    buffer.revive();
    assert_eq!(buffer.complete_since(), Some(wanted), "nothing was missed in between");
    let at = |seconds| Arc::new(Flow { time: wanted + SignedDuration::from_secs(seconds), ..syn() });
    buffer.extend([at(1), at(2)]);
    assert_eq!(buffer.complete_since(), Some(wanted));
    buffer.push(at(3));
    assert_eq!(buffer.complete_since(), Some(at(2).time));
    buffer.retire();
    assert_eq!(buffer.complete_since(), None);
}
