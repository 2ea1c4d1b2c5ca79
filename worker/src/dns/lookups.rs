//! Pairs queries with their answers, and notices that a message was seen before at another interface. Pure: time is an argument.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

use trilobite_protocols::DnsQuestion;

use super::packet::PacketPath;

/// How long an answer is waited for: resolvers ask again after 5 s.
pub(super) const ANSWER_WITHIN_NS: u64 = 5_000_000_000;
/// How long a query takes from one interface of a node to another at most.
const PASSES_WITHIN_NS: u64 = 1_000_000_000;
/// Queries that are waited for, or were answered a moment ago; the oldest makes room.
const LOOKUPS_MAX: usize = 4096;

/// What an answer repeats of its query, and where both are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LookupKey {
    interface: u32,
    tcp: bool,
    client: SocketAddr,
    server: SocketAddr,
    id: u16,
}

#[derive(Clone, Debug)]
struct Lookup {
    number: u64,
    asked_ns: u64,
    question: DnsQuestion,
    /// For what is told of a query that was given up.
    path: PacketPath,
    connection: u64,
    passed: Option<Passed>,
    answered: bool,
}

/// A message was seen before at another interface, on its path from the client to the server or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// With the same addresses.
    Same,
    /// With another address of the server, as of its Service.
    Translated,
}

/// Where a query was seen first.
struct FirstSeen {
    number: u64,
    path: PacketPath,
    at_ns: u64,
}

/// Queries of the last seconds.
#[derive(Default)]
pub(super) struct Lookups {
    /// Queries of one key differ in what they ask.
    open: HashMap<LookupKey, Vec<Lookup>>,
    first_seen: HashMap<(u16, DnsQuestion), FirstSeen>,
    /// Every lookup by its age.
    ages: VecDeque<(u64, LookupKey, u64)>,
    next_number: u64,
    /// Lookups that made room before their time.
    forgotten: u64,
}

/// What is known of an answer's query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AnsweredQuery {
    pub(super) question: Option<DnsQuestion>,
    pub(super) latency_ns: Option<u64>,
    pub(super) passed: Option<Passed>,
}

/// A query that no answer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    pub(super) question: DnsQuestion,
    pub(super) path: PacketPath,
    pub(super) connection: u64,
}

impl Lookups {
    /// A query. Returns whether it was seen before, on its path to this interface.
    pub(super) fn ask(
        &mut self,
        path: PacketPath,
        connection: u64,
        id: u16,
        question: &DnsQuestion,
        now: u64,
    ) -> Option<Passed> {
        let key =
            LookupKey { interface: path.interface, tcp: path.tcp, client: path.source, server: path.destination, id };
        let known = self.open.get(&key).into_iter().flatten().find(|lookup| lookup.question == *question);
        if let Some(waiting) = known.filter(|lookup| !lookup.answered) {
            // The client has sent it again.
            return waiting.passed;
        }
        self.next_number += 1;
        let number = self.next_number;
        let passed = self.note_first(path, id, question, now, number);
        let lookups = self.open.entry(key).or_default();
        lookups.retain(|lookup| lookup.question != *question);
        let question = question.clone();
        lookups.push(Lookup { number, asked_ns: now, question, path, connection, passed, answered: false });
        self.ages.push_back((now, key, number));
        passed
    }

    /// A query that an interface received comes from there: a server that asks another may use the id of its client.
    fn note_first(
        &mut self,
        path: PacketPath,
        id: u16,
        question: &DnsQuestion,
        now: u64,
        number: u64,
    ) -> Option<Passed> {
        let first = self.first_seen.get(&(id, question.clone()));
        let first = first.filter(|first| now.saturating_sub(first.at_ns) <= PASSES_WITHIN_NS);
        match first {
            Some(first) if !path.received && first.path.interface != path.interface => {
                let is_same = (first.path.source, first.path.destination) == (path.source, path.destination);
                Some(if is_same { Passed::Same } else { Passed::Translated })
            }
            _ => {
                let first = FirstSeen { number, path, at_ns: now };
                self.first_seen.insert((id, question.clone()), first);
                None
            }
        }
    }

    /// An answer. A server that refuses may leave the question out.
    pub(super) fn answer(
        &mut self,
        path: PacketPath,
        id: u16,
        question: Option<&DnsQuestion>,
        now: u64,
    ) -> AnsweredQuery {
        let key =
            LookupKey { interface: path.interface, tcp: path.tcp, client: path.destination, server: path.source, id };
        let mut lookups = self.open.get_mut(&key).into_iter().flatten().rev();
        let Some(lookup) = lookups.find(|lookup| question.is_none_or(|asked| lookup.question == *asked)) else {
            return AnsweredQuery { question: question.cloned(), ..AnsweredQuery::default() };
        };
        lookup.answered = true;
        AnsweredQuery {
            question: Some(lookup.question.clone()),
            latency_ns: Some(now.saturating_sub(lookup.asked_ns)),
            passed: lookup.passed,
        }
    }

    /// Forgets what is old, and what is too much. Returns queries without an answer, each once, however many interfaces it passed.
    pub(super) fn review(&mut self, now: u64) -> Vec<GivenUp> {
        let mut given_up = Vec::new();
        while let Some((asked_ns, key, number)) = self.ages.front().copied() {
            let is_old = now.saturating_sub(asked_ns) >= ANSWER_WITHIN_NS;
            if !is_old && self.ages.len() <= LOOKUPS_MAX {
                break;
            }
            self.forgotten += u64::from(!is_old);
            self.ages.pop_front();
            // None: the key was used again for the same question.
            let Some(lookup) = self.remove(&key, number) else { continue };
            if !lookup.answered && lookup.passed.is_none() && is_old {
                let Lookup { question, path, connection, .. } = lookup;
                given_up.push(GivenUp { question, path, connection });
            }
        }
        if self.ages.is_empty() {
            self.ages = VecDeque::new();
        }
        given_up
    }

    fn remove(&mut self, key: &LookupKey, number: u64) -> Option<Lookup> {
        let lookups = self.open.get_mut(key)?;
        let at = lookups.iter().position(|lookup| lookup.number == number)?;
        let lookup = lookups.swap_remove(at);
        if lookups.is_empty() {
            self.open.remove(key);
        }
        let message = (key.id, lookup.question.clone());
        if self.first_seen.get(&message).is_some_and(|first| first.number == number) {
            self.first_seen.remove(&message);
        }
        Some(lookup)
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn question(name: &str) -> DnsQuestion {
        DnsQuestion { name: name.into(), kind: "A".into() }
    }

    /// From the pod behind interface 1 to its Service.
    fn query() -> PacketPath {
        PacketPath {
            interface: 1,
            received: true,
            tcp: false,
            source: "10.1.0.7:40000".parse().unwrap(),
            destination: "10.96.0.10:53".parse().unwrap(),
        }
    }

    fn back(path: PacketPath) -> PacketPath {
        PacketPath { received: !path.received, source: path.destination, destination: path.source, ..path }
    }

    /// The same packet on its path to the server behind interface 2, with the server's own address.
    fn passing() -> PacketPath {
        PacketPath { interface: 2, received: false, destination: "10.1.0.9:53".parse().unwrap(), ..query() }
    }

    #[test]
    fn answer_finds_its_query_and_its_latency() {
        let mut lookups = Lookups::default();
        assert_eq!(lookups.ask(query(), 7, 1, &question("a."), 100), None);
        lookups.ask(query(), 7, 2, &question("b."), 150);
        let asked = lookups.answer(back(query()), 1, Some(&question("a.")), 400);
        assert_eq!((asked.latency_ns, asked.passed), (Some(300), None));
        let stranger = lookups.answer(back(query()), 3, Some(&question("a.")), 400);
        assert_eq!(stranger, AnsweredQuery { question: Some(question("a.")), ..AnsweredQuery::default() });
    }

    #[test]
    fn refusal_without_a_question_answers_the_last_query_of_its_id() {
        let mut lookups = Lookups::default();
        lookups.ask(query(), 7, 1, &question("a."), 100);
        lookups.ask(query(), 7, 1, &question("b."), 150);
        let asked = lookups.answer(back(query()), 1, None, 200);
        assert_eq!((asked.question, asked.latency_ns), (Some(question("b.")), Some(50)));
    }

    #[test]
    fn query_that_is_sent_again_is_one_lookup_from_its_first() {
        let mut lookups = Lookups::default();
        lookups.ask(query(), 7, 1, &question("a."), 0);
        lookups.ask(query(), 7, 1, &question("a."), SECOND);
        assert_eq!(lookups.answer(back(query()), 1, Some(&question("a.")), 2 * SECOND).latency_ns, Some(2 * SECOND));
        // An answered id may be used again.
        lookups.ask(query(), 7, 1, &question("a."), 3 * SECOND);
        let again = lookups.answer(back(query()), 1, Some(&question("a.")), 3 * SECOND + 9);
        assert_eq!(again.latency_ns, Some(9));
        assert_eq!(lookups.review(60 * SECOND), []);
        assert!(lookups.open.is_empty() && lookups.first_seen.is_empty());
    }

    #[test]
    fn unanswered_query_is_given_up_once_after_five_seconds() {
        let mut lookups = Lookups::default();
        lookups.ask(query(), 7, 1, &question("a."), 0);
        lookups.ask(passing(), 8, 1, &question("a."), 1);
        lookups.ask(query(), 7, 2, &question("b."), 0);
        lookups.answer(back(query()), 2, Some(&question("b.")), 5);
        assert_eq!(lookups.review(ANSWER_WITHIN_NS - 1), []);
        let given_up = GivenUp { question: question("a."), path: query(), connection: 7 };
        assert_eq!(lookups.review(ANSWER_WITHIN_NS + 1), [given_up]);
        assert!(lookups.open.is_empty() && lookups.first_seen.is_empty() && lookups.ages.is_empty());
    }

    #[test]
    fn message_at_the_servers_interface_was_seen_before() {
        let mut lookups = Lookups::default();
        lookups.ask(query(), 7, 1, &question("a."), 0);
        assert_eq!(lookups.ask(passing(), 8, 1, &question("a."), 10), Some(Passed::Translated));
        let same = PacketPath { destination: query().destination, ..passing() };
        assert_eq!(lookups.ask(same, 8, 1, &question("a."), 10), Some(Passed::Same));
        // The answer is seen at the server first.
        let at_server = lookups.answer(back(passing()), 1, Some(&question("a.")), 20);
        let at_client = lookups.answer(back(query()), 1, Some(&question("a.")), 30);
        assert_eq!((at_server.passed, at_client.passed), (Some(Passed::Translated), None));
        assert_eq!((at_server.latency_ns, at_client.latency_ns), (Some(10), Some(30)));
    }

    #[test]
    fn servers_own_query_with_its_clients_id_is_another() {
        let mut lookups = Lookups::default();
        lookups.ask(query(), 7, 1, &question("a."), 0);
        let own = PacketPath { interface: 2, source: "10.1.0.9:5000".parse().unwrap(), ..query() };
        assert_eq!(lookups.ask(own, 9, 1, &question("a."), 10), None);
        // Long after, the id says nothing.
        assert_eq!(lookups.ask(passing(), 8, 1, &question("a."), 2 * SECOND), None);
    }

    #[test]
    fn lookups_beyond_the_bound_make_room_and_are_counted() {
        let mut lookups = Lookups::default();
        for number in 0..LOOKUPS_MAX as u64 + 500 {
            let source = SocketAddr::from(([10, 1, 0, 7], number as u16));
            lookups.ask(PacketPath { source, ..query() }, 7, 1, &question(&format!("{number}.")), number);
            assert_eq!(lookups.review(number), []);
        }
        assert_eq!((lookups.open.len(), lookups.forgotten()), (LOOKUPS_MAX, 500));
        assert!(lookups.first_seen.len() <= LOOKUPS_MAX);
    }
}
