//! Attaches packet programs to interfaces: by tcx links, or before 6.6 by filters of the clsact qdisc.

use std::{path::Path, sync::Arc};

use libbpf_rs::ProgramMut;
use parking_lot::Mutex;
use trilobite_node_ebpf::FlowDirection;

use super::filter_manifest::FilterManifest;
use crate::{
    kernel::{
        Link, PacketAttach, attach, grace, packet,
        tc_filter::{FilterId, FilterRole, TcFilter},
    },
    problem::Problem,
};

/// How packet programs are attached here. Clones are handles to the same manifest.
#[derive(Clone)]
pub enum PacketHooks {
    Tcx,
    Clsact(Arc<Mutex<FilterManifest>>),
}

/// A program at one direction of an interface; dropping it detaches it.
#[derive(Debug)]
pub enum PacketAttachment {
    Tcx(Link),
    Clsact(OwnFilter),
}

/// A filter that is detached when it is dropped.
#[derive(Debug)]
pub struct OwnFilter {
    filter: TcFilter,
    manifest: Arc<Mutex<FilterManifest>>,
}

impl PacketHooks {
    /// Filters are written down in `state_dir`; those that an earlier process has left are removed first.
    pub fn new(way: PacketAttach, state_dir: Option<&Path>) -> Self {
        let mut manifest = state_dir.map_or_else(FilterManifest::default, FilterManifest::read);
        let removed = manifest.remove_all();
        if removed > 0 {
            tracing::info!(filters = removed, "filters of an earlier agent were removed");
        }
        match way {
            PacketAttach::Tcx => Self::Tcx,
            PacketAttach::Clsact => Self::Clsact(Arc::new(Mutex::new(manifest))),
        }
    }

    /// To an interface, before the programs that are there: one that ends the chain hides packets from those behind it.
    pub fn attach(
        &self,
        program: &ProgramMut<'_>,
        interface: u32,
        direction: FlowDirection,
        role: FilterRole,
    ) -> Result<PacketAttachment, Problem> {
        match self {
            Self::Tcx => attach::to_tcx(program, interface).map(PacketAttachment::Tcx),
            Self::Clsact(manifest) => {
                let id = FilterId::new(interface, direction, role);
                manifest.lock().insert(id)?;
                match TcFilter::attach(program, id) {
                    Ok(filter) => Ok(PacketAttachment::Clsact(OwnFilter { filter, manifest: manifest.clone() })),
                    Err(problem) => {
                        manifest.lock().remove(id);
                        Err(problem)
                    }
                }
            }
        }
    }
}

impl PacketAttachment {
    /// Replaces the program without missing a packet.
    pub fn replace_program(&mut self, program: &ProgramMut<'_>) -> Result<(), Problem> {
        match self {
            Self::Tcx(link) => packet::replace_program(link, program),
            Self::Clsact(own) => own.filter.replace_program(program),
        }
    }

    /// False once the interface is gone; a new one may have the same index.
    pub fn is_attached(&self) -> bool {
        match self {
            Self::Tcx(link) => link.is_attached(),
            Self::Clsact(own) => own.filter.is_attached(),
        }
    }

    /// Detaches programs; when it returns, no processor runs them any more.
    pub fn detach_all(attachments: impl IntoIterator<Item = Self>) {
        let mut has_filters = false;
        for attachment in attachments {
            has_filters |= matches!(attachment, Self::Clsact(_));
            drop(attachment);
        }
        // The kernel waits for the programs of a link by itself.
        if has_filters && let Err(error) = grace::wait_for_programs() {
            tracing::debug!(%error, "detached filters cannot be waited for");
        }
    }
}

impl Drop for OwnFilter {
    fn drop(&mut self) {
        self.manifest.lock().remove(self.filter.id());
    }
}
