//! Which names the addresses have that a pod, or the machine, has looked up. Bounded; pure: time is an argument.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use crate::layers::network::flow::Names;

/// Addresses that have names, each for each pod that asked; the one that was looked up longest ago makes room. Some 250 bytes each.
const ADDRESSES_MAX: usize = 8192;
/// Names of one address; the oldest makes room.
const NAMES_MAX: usize = 8;
/// How long a name stays beyond its TTL, and beyond the last flow to its address: programs keep addresses, and connections last.
pub const GRACE_NS: u64 = 300 * 1_000_000_000;
/// A TTL above this counts as this.
const TTL_MAX: u32 = 86_400;

/// The interface behind which the asking pod is; `MACHINE` for the machine's own.
pub type AskedBy = u32;
pub const MACHINE: AskedBy = 0;

#[derive(Debug, Default)]
pub struct NameTable {
    addresses: HashMap<(AskedBy, IpAddr), NamedAddress>,
    /// Keys of `addresses` by the number of their last lookup.
    ages: BTreeMap<u64, (AskedBy, IpAddr)>,
    next_age: u64,
    /// Names that made room before their time.
    evicted: u64,
}

#[derive(Debug)]
struct NamedAddress {
    age: u64,
    /// In the order of their lookups. Shared with the flows that have them.
    names: Arc<Vec<String>>,
    /// When each of them expires: boot clock, nanoseconds.
    expiries: Vec<u64>,
}

impl NameTable {
    /// `asked_by` has looked up `name`, and these are its addresses for `ttl` seconds.
    pub fn learn(&mut self, asked_by: AskedBy, name: &str, addresses: &[IpAddr], ttl: u32, now: u64) {
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() {
            return;
        }
        let expiry = now + u64::from(ttl.min(TTL_MAX)) * 1_000_000_000 + GRACE_NS;
        for address in addresses {
            self.learn_one((asked_by, *address), name, expiry, now);
        }
        while self.addresses.len() > ADDRESSES_MAX {
            let Some((_, oldest)) = self.ages.pop_first() else { return };
            self.addresses.remove(&oldest);
            self.evicted += 1;
        }
    }

    fn learn_one(&mut self, key: (AskedBy, IpAddr), name: &str, expiry: u64, now: u64) {
        let Self { addresses, ages, next_age, evicted } = self;
        *next_age += 1;
        let known = addresses.entry(key).or_insert_with(|| NamedAddress {
            age: *next_age,
            names: Arc::default(),
            expiries: Vec::new(),
        });
        ages.remove(&known.age);
        known.age = *next_age;
        ages.insert(known.age, key);
        known.remove_expired(now);
        // In one place, so that a name that is looked up again is no longer the oldest.
        let expiry = match known.names.iter().position(|one| one == name) {
            Some(at) if at + 1 == known.names.len() => {
                known.expiries[at] = known.expiries[at].max(expiry);
                return;
            }
            Some(at) => {
                Arc::make_mut(&mut known.names).remove(at);
                known.expiries.remove(at).max(expiry)
            }
            None => expiry,
        };
        let names = Arc::make_mut(&mut known.names);
        if names.len() >= NAMES_MAX {
            names.remove(0);
            known.expiries.remove(0);
            *evicted += 1;
        }
        names.push(name.to_owned());
        known.expiries.push(expiry);
    }

    /// The names of an address for who has looked them up. Asked for a flow, which keeps them for another while.
    pub fn of(&mut self, asked_by: AskedBy, address: IpAddr, now: u64) -> Names {
        if self.addresses.is_empty() {
            return None;
        }
        let known = self.addresses.get_mut(&(asked_by, address))?;
        if known.expiries.iter().any(|expiry| *expiry <= now) {
            known.remove_expired(now);
        }
        known.expiries.iter_mut().for_each(|expiry| *expiry = (*expiry).max(now + GRACE_NS));
        (!known.names.is_empty()).then(|| known.names.clone())
    }

    /// Removes names that have expired.
    pub fn review(&mut self, now: u64) {
        let Self { addresses, ages, .. } = self;
        addresses.retain(|_, known| {
            known.remove_expired(now);
            let is_named = !known.names.is_empty();
            if !is_named {
                ages.remove(&known.age);
            }
            is_named
        });
        if addresses.is_empty() {
            *addresses = HashMap::new();
        }
    }

    /// The pod is gone.
    pub fn forget(&mut self, asked_by: AskedBy) {
        let Self { addresses, ages, .. } = self;
        addresses.retain(|key, known| {
            let stays = key.0 != asked_by;
            if !stays {
                ages.remove(&known.age);
            }
            stays
        });
    }

    /// Frees everything but the count.
    pub fn clear(&mut self) {
        *self = Self { evicted: self.evicted, ..Self::default() };
    }

    /// Addresses with names.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Names that made room before their time, since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

impl NamedAddress {
    fn remove_expired(&mut self, now: u64) {
        if self.expiries.iter().all(|expiry| *expiry > now) {
            return;
        }
        let mut expiries = self.expiries.iter();
        Arc::make_mut(&mut self.names).retain(|_| expiries.next().is_some_and(|expiry| *expiry > now));
        self.expiries.retain(|expiry| *expiry > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn names(table: &mut NameTable, asked_by: AskedBy, last: u8, now: u64) -> Vec<String> {
        table.of(asked_by, address(last), now).map(|names| names.to_vec()).unwrap_or_default()
    }

    #[test]
    fn name_is_known_to_the_pod_that_asked_alone() {
        let mut table = NameTable::default();
        table.learn(1, "a.example.", &[address(7), address(8)], 30, 0);
        table.learn(2, "b.example.", &[address(7)], 30, 0);
        assert_eq!(names(&mut table, 1, 7, 1), ["a.example"]);
        assert_eq!(names(&mut table, 1, 8, 1), ["a.example"]);
        assert_eq!(names(&mut table, 2, 7, 1), ["b.example"]);
        assert_eq!(table.of(2, address(8), 1), None);
        table.forget(1);
        assert_eq!((table.of(1, address(7), 1), table.len()), (None, 1));
    }

    #[test]
    fn name_stays_for_its_ttl_and_a_grace_period() {
        for (ttl, until) in [(0, GRACE_NS), (30, 30 * SECOND + GRACE_NS), (u32::MAX, 86_400 * SECOND + GRACE_NS)] {
            let mut table = NameTable::default();
            table.learn(1, "a.example.", &[address(7)], ttl, 0);
            table.review(until - 1);
            assert_eq!(table.len(), 1, "{ttl}");
            table.review(until);
            assert_eq!((table.len(), table.ages.len()), (0, 0), "{ttl}");
            table.learn(1, "a.example.", &[address(7)], ttl, 0);
            assert_eq!(table.of(1, address(7), until), None, "{ttl}");
        }
    }

    #[test]
    fn flows_keep_the_name_of_their_address() {
        let mut table = NameTable::default();
        table.learn(1, "a.example.", &[address(7)], 0, 0);
        for at in 1..10 {
            let now = at * (GRACE_NS - 1);
            table.review(now);
            assert_eq!(names(&mut table, 1, 7, now), ["a.example"], "{at}");
        }
    }

    #[test]
    fn address_has_the_names_of_its_last_lookups() {
        let mut table = NameTable::default();
        for number in 0..=NAMES_MAX {
            table.learn(1, &format!("{number}.example."), &[address(7)], 30, 0);
            table.learn(1, "1.example.", &[address(7)], 30, 0);
        }
        let known = names(&mut table, 1, 7, 1);
        assert_eq!((known.len(), known.last().unwrap().as_str()), (NAMES_MAX, "1.example"));
        assert!(!known.contains(&"0.example".to_owned()));
        assert_eq!(table.evicted(), 1);
    }

    #[test]
    fn each_name_expires_by_itself() {
        let mut table = NameTable::default();
        table.learn(1, "long.example.", &[address(7)], 600, 0);
        table.learn(1, "short.example.", &[address(7)], 0, 0);
        assert_eq!(names(&mut table, 1, 7, GRACE_NS), ["long.example"]);
    }

    #[test]
    fn oldest_lookup_makes_room_and_is_counted() {
        let mut table = NameTable::default();
        for number in 0..ADDRESSES_MAX as u32 + 10 {
            table.learn(1, "a.example.", &[IpAddr::from(number.to_be_bytes())], 30, 0);
            table.learn(1, "first.example.", &[IpAddr::from([0; 4])], 30, 0);
        }
        assert_eq!((table.len(), table.ages.len(), table.evicted()), (ADDRESSES_MAX, ADDRESSES_MAX, 10));
        assert!(table.of(1, IpAddr::from([0; 4]), 1).is_some());
        table.clear();
        assert_eq!((table.is_empty(), table.evicted()), (true, 10));
    }

    #[test]
    fn root_is_no_name() {
        let mut table = NameTable::default();
        table.learn(1, ".", &[address(7)], 30, 0);
        table.learn(1, "", &[address(7)], 30, 0);
        assert!(table.is_empty());
    }
}
