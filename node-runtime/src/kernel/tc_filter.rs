//! Packet programs as filters of the clsact qdisc, in direct action: how they are attached before tcx. A filter outlives the process
//! that attached it, and is known to be ours by its priority and handle.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use libbpf_rs::ProgramMut;
use serde::{Deserialize, Serialize};
use trilobite_node_ebpf::FlowDirection;

use super::log;
use crate::problem::Problem;

/// No filter can be before those of this priority. CNIs use it as well: of one priority, the newest filter is first, and each runs
/// that no other has ended the chain before.
const PRIORITY: u32 = 1;
/// Others number their handles from 1 on.
const FIRST_HANDLE: u32 = 0x7472_6c00;

/// Which program a filter is; one of each at an interface and direction. The numbers are in manifests of earlier versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FilterRole {
    Flows = 1,
    Dns = 2,
}

/// What a filter is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FilterId {
    /// Index of the interface.
    pub interface: u32,
    pub is_egress: bool,
    handle: u32,
}

/// A filter of this process. Dropping it leaves it attached: see `detach`.
#[derive(Debug)]
pub struct TcFilter {
    id: FilterId,
    program_id: u32,
    /// Kept so that the program is accounted for while it is attached.
    _program: Option<OwnedFd>,
}

impl FilterId {
    pub fn new(interface: u32, direction: FlowDirection, role: FilterRole) -> Self {
        Self { interface, is_egress: direction == FlowDirection::Out, handle: FIRST_HANDLE + role as u32 }
    }

    fn hook(&self) -> libbpf_sys::bpf_tc_hook {
        hook(self.interface, if self.is_egress { libbpf_sys::BPF_TC_EGRESS } else { libbpf_sys::BPF_TC_INGRESS })
    }

    fn options(&self) -> libbpf_sys::bpf_tc_opts {
        libbpf_sys::bpf_tc_opts {
            sz: size_of::<libbpf_sys::bpf_tc_opts>() as libbpf_sys::size_t,
            handle: self.handle,
            priority: PRIORITY,
            ..Default::default()
        }
    }

    /// The program that is attached there.
    fn attached_program(&self) -> io::Result<u32> {
        let (hook, mut options) = (self.hook(), self.options());
        // SAFETY: both structs contain their size and outlive the call, which writes into the second.
        let (answer, _) = log::with_warnings(|| unsafe { libbpf_sys::bpf_tc_query(&raw const hook, &raw mut options) });
        answered(answer).map(|()| options.prog_id)
    }

    /// Detaches whatever program we have attached there; false if there was none. A processor may still be running it.
    pub fn detach(&self) -> io::Result<bool> {
        let (hook, options) = (self.hook(), self.options());
        // SAFETY: both structs contain their size and outlive the call.
        let (answer, _) =
            log::with_warnings(|| unsafe { libbpf_sys::bpf_tc_detach(&raw const hook, &raw const options) });
        match answered(answer) {
            Err(error) if is_gone(&error) => Ok(false),
            answer => answer.map(|()| true),
        }
    }
}

impl TcFilter {
    /// Attaches to an interface that has the qdisc, in place of a filter that an earlier process has left there.
    pub fn attach(program: &ProgramMut<'_>, id: FilterId) -> Result<Self, Problem> {
        let (hook, mut options) = (id.hook(), id.options());
        options.prog_fd = program.as_fd().as_raw_fd();
        options.flags = libbpf_sys::BPF_TC_F_REPLACE;
        // SAFETY: both structs contain their size and outlive the call; the program's descriptor is open meanwhile.
        let (answer, warnings) =
            log::with_warnings(|| unsafe { libbpf_sys::bpf_tc_attach(&raw const hook, &raw mut options) });
        answered(answer).map_err(|error| Problem::LoadFailed {
            what: format!("attaching {} to interface {}", program.name().to_string_lossy(), id.interface),
            detail: match warnings.first() {
                Some(line) => format!("{error}: {}", line.trim()),
                None => error.to_string(),
            },
        })?;
        Ok(Self { id, program_id: options.prog_id, _program: program.as_fd().try_clone_to_owned().ok() })
    }

    /// Replaces the program without missing a packet: the kernel exchanges one filter for the other.
    pub fn replace_program(&mut self, program: &ProgramMut<'_>) -> Result<(), Problem> {
        *self = Self::attach(program, self.id)?;
        Ok(())
    }

    /// False once the interface, its qdisc or the filter is gone, or has another program.
    pub fn is_attached(&self) -> bool {
        self.id.attached_program().is_ok_and(|program| program == self.program_id)
    }

    pub fn id(&self) -> FilterId {
        self.id
    }
}

/// Makes the qdisc that holds filters. Returns false if there is one: it is somebody else's.
pub fn create_clsact(interface: u32) -> Result<bool, Problem> {
    let mut hook = hook(interface, libbpf_sys::BPF_TC_INGRESS | libbpf_sys::BPF_TC_EGRESS);
    // SAFETY: the struct contains its size and outlives the call.
    let (answer, _) = log::with_warnings(|| unsafe { libbpf_sys::bpf_tc_hook_create(&raw mut hook) });
    match answered(answer) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(Problem::LoadFailed {
            what: format!("adding a clsact qdisc to interface {interface}"),
            detail: error.to_string(),
        }),
    }
}

/// Removes the qdisc with all its filters, those of others too; none is no error.
pub fn remove_clsact(interface: u32) -> io::Result<()> {
    let mut hook = hook(interface, libbpf_sys::BPF_TC_INGRESS | libbpf_sys::BPF_TC_EGRESS);
    // SAFETY: the struct contains its size and outlives the call.
    let (answer, _) = log::with_warnings(|| unsafe { libbpf_sys::bpf_tc_hook_destroy(&raw mut hook) });
    match answered(answer) {
        Err(error) if is_gone(&error) => Ok(()),
        answer => answer,
    }
}

fn hook(interface: u32, attach_point: libbpf_sys::bpf_tc_attach_point) -> libbpf_sys::bpf_tc_hook {
    libbpf_sys::bpf_tc_hook {
        sz: size_of::<libbpf_sys::bpf_tc_hook>() as libbpf_sys::size_t,
        ifindex: interface.cast_signed(),
        attach_point,
        ..Default::default()
    }
}

fn answered(answer: i32) -> io::Result<()> {
    if answer < 0 { Err(io::Error::from_raw_os_error(-answer)) } else { Ok(()) }
}

/// No such interface, qdisc or filter.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EINVAL))
}
