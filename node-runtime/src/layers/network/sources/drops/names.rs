//! The kernel's own names: of reasons by its types, of places by its symbols.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::kernel::btf::KernelTypes;

const KALLSYMS: &str = "/proc/kallsyms";
/// In front of each name in the kernel's types.
const PREFIX: &str = "SKB_DROP_REASON_";
/// The upper half of a reason is the number of a subsystem, e.g. openvswitch, whose reasons have no names outside of its module.
const SUBSYSTEM_SHIFT: u32 = 16;
/// A function is not longer; an address farther away from every symbol is of something else.
const FUNCTION_BYTES: u64 = 1 << 20;
/// Places that are remembered. A kernel has a few hundred.
const PLACES: usize = 4096;

/// Names of `skb_drop_reason`.
#[derive(Debug, Default)]
pub(super) struct ReasonNames {
    core: HashMap<u32, Arc<str>>,
    subsystems: HashMap<u32, String>,
}

impl ReasonNames {
    /// Of the running kernel. Empty where it has no reasons: before 5.17.
    pub(super) fn read() -> Self {
        let [core, subsystems] = KernelTypes::enumerators(["skb_drop_reason", "skb_drop_reason_subsys"]);
        Self::new(core, subsystems)
    }

    fn new(core: Vec<(u32, String)>, subsystems: Vec<(u32, String)>) -> Self {
        let short = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
        Self {
            core: core.into_iter().map(|(number, name)| (number, short(&name).into())).collect(),
            subsystems: subsystems.into_iter().map(|(n, name)| (n, short(&name).replacen("SUBSYS_", "", 1))).collect(),
        }
    }

    /// The kernel has no reasons: the place alone says why.
    pub(super) fn is_empty(&self) -> bool {
        self.core.is_empty()
    }

    /// E.g. `NETFILTER_DROP`; of a subsystem `OPENVSWITCH_5`; empty where the kernel has no reasons.
    pub(super) fn name(&self, reason: u32) -> Arc<str> {
        if self.is_empty() {
            return Arc::default();
        }
        if let Some(name) = self.core.get(&reason) {
            return name.clone();
        }
        let number = reason & ((1 << SUBSYSTEM_SHIFT) - 1);
        match self.subsystems.get(&(reason >> SUBSYSTEM_SHIFT)) {
            Some(name) if reason >> SUBSYSTEM_SHIFT != 0 => format!("{name}_{number}").into(),
            _ => format!("REASON_{reason}").into(),
        }
    }
}

/// Names of the functions that drop packets. The table of the kernel's symbols takes some MiB: it is read again for addresses that were
/// not met before, and only the names that are asked for are kept.
#[derive(Debug)]
pub(super) struct PlaceNames {
    kallsyms: PathBuf,
    known: HashMap<u64, DropSite>,
    /// No name is needed any more: ends a lookup on another thread.
    is_closed: Arc<AtomicBool>,
}

/// A function that drops packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DropSite {
    /// Empty where the kernel does not show its addresses, because the agent lacks CAP_SYSLOG.
    pub(super) function: Arc<str>,
    /// Not of a module, whose memory can become another's.
    pub(super) is_permanent: bool,
}

impl Default for PlaceNames {
    fn default() -> Self {
        Self::new(Path::new(KALLSYMS))
    }
}

impl PlaceNames {
    pub(super) fn new(kallsyms: &Path) -> Self {
        Self { kallsyms: kallsyms.to_owned(), known: HashMap::new(), is_closed: Arc::default() }
    }

    /// Those of `addresses` whose places are to be looked up.
    pub(super) fn unknown(&self, addresses: impl IntoIterator<Item = u64>) -> Option<PlaceLookup> {
        let mut missing: Vec<u64> = addresses.into_iter().filter(|address| !self.known.contains_key(address)).collect();
        missing.sort_unstable();
        missing.dedup();
        (!missing.is_empty()).then(|| PlaceLookup {
            kallsyms: self.kallsyms.clone(),
            addresses: missing,
            is_closed: self.is_closed.clone(),
        })
    }

    pub(super) fn learn(&mut self, found: FoundPlaces) {
        if self.known.len() + found.0.len() > PLACES {
            self.known.clear();
        }
        self.known.extend(found.0);
    }

    pub(super) fn is_known(&self, address: u64) -> bool {
        self.known.contains_key(&address)
    }

    /// The place of an address that was learned.
    pub(super) fn place(&self, address: u64) -> DropSite {
        self.known.get(&address).cloned().unwrap_or_default()
    }
}

/// Addresses that were not met before, sorted.
#[derive(Debug)]
pub struct PlaceLookup {
    kallsyms: PathBuf,
    addresses: Vec<u64>,
    is_closed: Arc<AtomicBool>,
}

/// Places by address.
#[derive(Debug)]
pub struct FoundPlaces(Vec<(u64, DropSite)>);

/// A lookup that goes on elsewhere is of no use any more.
impl Drop for PlaceNames {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

impl PlaceLookup {
    /// Reads the kernel's symbols, which takes 50 ms, and seconds on a slow machine: not for the thread that serves clients.
    pub fn read(self) -> FoundPlaces {
        let found = match File::open(&self.kallsyms) {
            Ok(file) => functions_at(BufReader::with_capacity(1 << 16, file), &self.addresses, &self.is_closed),
            Err(error) => {
                tracing::warn!(%error, "places of dropped packets have no names: the kernel's symbols cannot be read");
                vec![DropSite::default(); self.addresses.len()]
            }
        };
        FoundPlaces(self.addresses.into_iter().zip(found).collect())
    }
}

/// The function around each of `addresses`, which are sorted. They are those behind a call, so that a call at the very end of a function
/// leads to its successor's first byte.
fn functions_at(mut table: impl BufRead, addresses: &[u64], is_closed: &AtomicBool) -> Vec<DropSite> {
    // For each address: the nearest symbol below it and above the address before.
    let mut nearest: Vec<Option<(u64, DropSite)>> = vec![None; addresses.len()];
    let mut line = String::new();
    while !is_closed.load(Ordering::Relaxed)
        && let Ok(1..) = table.read_line(&mut line)
    {
        let mut words = line.split_ascii_whitespace();
        if let (Some(start), Some("t" | "T" | "w" | "W"), Some(name)) = (words.next(), words.next(), words.next())
            && let Ok(start @ 1..) = u64::from_str_radix(start, 16)
            && let Some(best) = nearest.get_mut(addresses.partition_point(|address| *address <= start))
            && best.as_ref().is_none_or(|(before, _)| *before < start)
        {
            let place = DropSite { function: name.into(), is_permanent: words.next().is_none() };
            *best = Some((start, place));
        }
        line.clear();
    }
    let mut below = None;
    let function = |(address, best): (&u64, Option<(u64, DropSite)>)| {
        below = best.or(below.take());
        let (start, place) = below.as_ref()?;
        (address - start <= FUNCTION_BYTES).then(|| place.clone())
    };
    addresses.iter().zip(nearest).map(function).map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_has_the_kernels_name_without_its_prefix() {
        let named = |list: &[(u32, &str)]| list.iter().map(|(number, name)| (*number, (*name).to_owned())).collect();
        let names = ReasonNames::new(
            named(&[(2, "SKB_DROP_REASON_NOT_SPECIFIED"), (12, "SKB_DROP_REASON_NETFILTER_DROP")]),
            named(&[(0, "SKB_DROP_REASON_SUBSYS_CORE"), (2, "SKB_DROP_REASON_SUBSYS_OPENVSWITCH")]),
        );
        for (reason, expected) in
            [(12, "NETFILTER_DROP"), (0x2_0005, "OPENVSWITCH_5"), (99, "REASON_99"), (0x9_0001, "REASON_589825")]
        {
            assert_eq!(&*names.name(reason), expected);
        }
        assert_eq!(&*ReasonNames::default().name(0), "");
    }

    #[test]
    fn own_kernel_names_its_reasons() {
        let names = ReasonNames::read();
        let numbers = 0..200;
        let has = |wanted: &str| numbers.clone().any(|number| &*names.name(number) == wanted);
        assert!(names.is_empty() || has("NO_SOCKET") && has("NETFILTER_DROP"), "{names:?}");
    }

    const TABLE: &str = "\
ffffffff81002000 T ip_forward
ffffffff81001000 T ip_error
ffffffff81001800 d inet_protos
ffffffffc0000000 t nft_do_chain\t[nf_tables]
";

    #[test]
    fn place_is_the_function_around_the_call() {
        let addresses = [
            0x10,
            0xffff_ffff_8100_1000,
            0xffff_ffff_8100_1004,
            0xffff_ffff_8100_1900,
            0xffff_ffff_8100_2010,
            0xffff_ffff_c000_0010,
        ];
        let found = functions_at(TABLE.as_bytes(), &addresses, &AtomicBool::new(false));
        let names: Vec<&str> = found.iter().map(|place| &*place.function).collect();
        assert_eq!(names, ["", "", "ip_error", "ip_error", "ip_forward", "nft_do_chain"]);
        let is_permanent: Vec<bool> = found.iter().map(|place| place.is_permanent).collect();
        assert_eq!(is_permanent, [false, false, true, true, true, false]);
        assert!(
            functions_at("0000000000000000 T ip_error\n".as_bytes(), &addresses, &AtomicBool::new(false))
                .iter()
                .all(|place| place.function.is_empty())
        );
    }

    #[test]
    fn known_place_is_not_looked_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kallsyms");
        std::fs::write(&file, TABLE).unwrap();
        let mut places = PlaceNames::new(&file);
        let lookup = places.unknown([0xffff_ffff_8100_1004, 0xffff_ffff_8100_1004]).unwrap();
        places.learn(lookup.read());
        assert!(places.unknown([0xffff_ffff_8100_1004]).is_none());
        assert_eq!(&*places.place(0xffff_ffff_8100_1004).function, "ip_error");
        std::fs::remove_file(&file).unwrap();
        let lookup = places.unknown([0xffff_ffff_8100_1004, 0xffff_ffff_8100_2010]).unwrap();
        places.learn(lookup.read());
        assert!(places.is_known(0xffff_ffff_8100_2010), "an address without a name is not asked for again and again");
        assert_eq!(places.place(0xffff_ffff_8100_2010), DropSite::default());
    }
}
