//! A BPF link owned by the process: dropping it detaches the program.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr,
};

use libbpf_rs::ProgramMut;

/// An attachment. A pinned link would be a type of its own; there is none yet.
#[derive(Debug)]
pub struct Link {
    link: libbpf_rs::Link,
    /// Kept so that the program is accounted for while it is attached, also after its object was dropped.
    program: Option<OwnedFd>,
}

impl Link {
    pub(super) fn new(link: libbpf_rs::Link, program: &ProgramMut<'_>) -> Self {
        Self { link, program: program.as_fd().try_clone_to_owned().ok() }
    }

    /// Replaces the program atomically (`bpf_link_update`).
    pub(super) fn replace_program(&mut self, program: &ProgramMut<'_>) -> libbpf_rs::Result<()> {
        self.link.update_prog(program)?;
        self.program = program.as_fd().try_clone_to_owned().ok();
        Ok(())
    }

    /// False once the interface of a tcx link is gone: the link stays, without a device. Links of other kinds count as attached.
    pub fn is_attached(&self) -> bool {
        let mut info = libbpf_sys::bpf_link_info::default();
        let mut size = size_of::<libbpf_sys::bpf_link_info>() as libbpf_sys::__u32;
        // SAFETY: the descriptor is the link's own; the kernel writes at most `size` bytes into `info`.
        let answer = unsafe {
            libbpf_sys::bpf_link_get_info_by_fd(self.link.as_fd().as_raw_fd(), ptr::from_mut(&mut info), &raw mut size)
        };
        if answer != 0 || info.type_ != libbpf_sys::BPF_LINK_TYPE_TCX {
            return true;
        }
        // SAFETY: the kernel reported a tcx link, so this is the member of the union that it wrote.
        unsafe { info.__bindgen_anon_1.tcx.ifindex != 0 }
    }

    /// A new descriptor of the program, which outlives the link.
    pub fn program(&self) -> Option<OwnedFd> {
        self.program.as_ref()?.try_clone().ok()
    }

    pub(super) fn inner(&self) -> &libbpf_rs::Link {
        &self.link
    }
}
