//! The kernel's part of TLS: which instructions are probed, which slots want plain text, and which pods are left alone.

use std::os::fd::BorrowedFd;

use trilobite_node_ebpf::{Record, TlsKey, TlsProbe};
use trilobite_worker_wire::{InspectedFunction, Inspection, TlsFunction};

use crate::{
    kernel::{
        Link,
        attach::FunctionEnd,
        clock,
        uprobe::{ProbePlace, to_uprobe_multi},
    },
    layers::application::requests::{
        SharedCapture,
        programs::{Capture, TlsMaps},
    },
    problem::Problem,
};

/// After so long without a call an object of a library is forgotten: its process may have ended without freeing it.
const IDLE_MAX_NS: u64 = 15 * 60 * 1_000_000_000;

/// The places of one file, by how they are probed.
#[derive(Debug, Default, PartialEq, Eq)]
struct ProbedPlaces {
    instructions: Vec<ProbePlace>,
    /// Entries of functions of which no return instruction is known.
    returns: Vec<ProbePlace>,
}

impl ProbedPlaces {
    fn add(&mut self, function: &InspectedFunction) {
        let (entry, end) = match function.function {
            TlsFunction::Read => (Some(TlsProbe::ReadEntry), Some(TlsProbe::ReadReturn)),
            TlsFunction::ReadEx => (Some(TlsProbe::ReadExEntry), Some(TlsProbe::ReadReturn)),
            TlsFunction::Write => (Some(TlsProbe::WriteEntry), Some(TlsProbe::WriteReturn)),
            TlsFunction::WriteEx => (Some(TlsProbe::WriteExEntry), Some(TlsProbe::WriteReturn)),
            TlsFunction::New => (None, Some(TlsProbe::NewReturn)),
            TlsFunction::Free => (Some(TlsProbe::FreeEntry), None),
            TlsFunction::Clear => (Some(TlsProbe::ClearEntry), None),
        };
        let place = |offset, probe| ProbePlace { offset, cookie: probe as u64 };
        self.instructions.extend(entry.map(|entry| place(function.entry, entry)));
        let Some(end) = end else { return };
        if function.returns.is_empty() {
            self.returns.push(place(function.entry, end));
        }
        self.instructions.extend(function.returns.iter().map(|offset| place(*offset, end)));
    }
}

/// Probes the functions of a file.
pub(super) fn attach(capture: &Capture, file: BorrowedFd<'_>, inspection: &Inspection) -> Result<Vec<Link>, Problem> {
    let Some((program, _)) = capture.tls() else {
        return Err(not_loaded());
    };
    let mut places = ProbedPlaces::default();
    inspection.functions.iter().for_each(|function| places.add(function));
    let mut links = Vec::new();
    // Returns first: a call whose entry is not seen is left alone, and one whose return is not seen would be kept.
    if !places.returns.is_empty() {
        links.push(to_uprobe_multi(program, file, &places.returns, FunctionEnd::Return)?);
    }
    links.push(to_uprobe_multi(program, file, &places.instructions, FunctionEnd::Entry)?);
    Ok(links)
}

fn not_loaded() -> Problem {
    Problem::LoadFailed { what: "probing TLS libraries".into(), detail: "the program is not loaded".into() }
}

/// Writes maps of the capture, which is loaded while the session's slot exists.
pub(super) fn write(capture: &SharedCapture, write: impl FnOnce(&Capture)) {
    let written = capture.with(|capture| {
        write(capture);
        Ok(())
    });
    if let Err(problem) = written {
        tracing::debug!(problem = %problem.message(), "the capture ended before the probes of TLS");
    }
}

/// Says whether a slot wants plain text.
pub(super) fn set_slot(capture: &Capture, slot: u32, wants: bool) {
    let Some((_, TlsMaps { slots, .. })) = capture.tls() else { return };
    let bit = 1u64.checked_shl(slot).unwrap_or_default();
    let before = slots.get::<u64>(&0u32).ok().flatten().unwrap_or_default();
    let after = if wants { before | bit } else { before & !bit };
    if let Err(error) = slots.set(&0u32, &after) {
        tracing::warn!(slot, wants, %error, "whether a slot wants plain text could not be written");
    }
}

/// Leaves the processes of a cgroup alone, or no longer.
pub(super) fn set_excluded(capture: &Capture, cgroup: u64, is_excluded: bool) {
    let Some((_, TlsMaps { excluded, .. })) = capture.tls() else { return };
    let done = if is_excluded { excluded.set(&cgroup, &1u32) } else { excluded.delete(&cgroup) };
    if let Err(error) = done {
        tracing::warn!(cgroup, is_excluded, %error, "whether a pod's TLS is left alone could not be written");
    }
}

/// Forgets objects that were not used for long.
pub(super) fn forget_idle_objects(capture: &Capture) {
    let Some((_, TlsMaps { objects, .. })) = capture.tls() else { return };
    let oldest = clock::boot_ns().saturating_sub(IDLE_MAX_NS);
    let keys: Vec<TlsKey> = objects.keys().collect();
    for key in keys {
        // An object begins with the header of its last record.
        let last_call = objects.get_prefix::<Record>(&key).ok().flatten().map_or(u64::MAX, |record| record.time);
        if last_call < oldest
            && let Err(error) = objects.delete(&key)
        {
            tracing::debug!(%error, "an idle object of a TLS library could not be forgotten");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64, probe: TlsProbe) -> ProbePlace {
        ProbePlace { offset, cookie: probe as u64 }
    }

    fn places(function: TlsFunction, returns: Vec<u64>) -> ProbedPlaces {
        let mut places = ProbedPlaces::default();
        places.add(&InspectedFunction { function, entry: 10, returns, tail_jumps: 0 });
        places
    }

    #[test]
    fn function_is_probed_at_its_entry_and_at_each_return_instruction() {
        let expected =
            [place(10, TlsProbe::ReadExEntry), place(20, TlsProbe::ReadReturn), place(30, TlsProbe::ReadReturn)];
        let places = places(TlsFunction::ReadEx, vec![20, 30]);
        assert_eq!((places.instructions.as_slice(), places.returns.len()), (&expected[..], 0));
    }

    #[test]
    fn return_is_probed_only_without_a_return_instruction() {
        let without = places(TlsFunction::Write, Vec::new());
        assert_eq!(without.instructions, [place(10, TlsProbe::WriteEntry)]);
        assert_eq!(without.returns, [place(10, TlsProbe::WriteReturn)]);
        let freed = places(TlsFunction::Free, vec![20]);
        assert_eq!((freed.instructions, freed.returns.len()), (vec![place(10, TlsProbe::FreeEntry)], 0));
        let made = places(TlsFunction::New, vec![20]);
        assert_eq!((made.instructions, made.returns.len()), (vec![place(20, TlsProbe::NewReturn)], 0));
    }
}
