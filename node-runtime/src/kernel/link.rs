//! What keeps a program attached. Owned by the process: dropping it detaches.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr,
};

use libbpf_rs::ProgramMut;

/// An attachment. There is no pinned kind yet; it will be a type of its own.
#[derive(Debug)]
pub struct Link {
    link: libbpf_rs::Link,
    /// The program is ours to account for as long as it is attached, also when its object is gone.
    program: Option<OwnedFd>,
}

impl Link {
    pub(super) fn new(link: libbpf_rs::Link, program: &ProgramMut<'_>) -> Self {
        Self { link, program: program.as_fd().try_clone_to_owned().ok() }
    }

    /// Puts another program in this one's place, with none between them.
    pub(super) fn take(&mut self, program: &ProgramMut<'_>) -> libbpf_rs::Result<()> {
        self.link.update_prog(program)?;
        self.program = program.as_fd().try_clone_to_owned().ok();
        Ok(())
    }

    /// It still holds what it was attached to. An interface that goes away leaves its links behind, empty; what cannot be
    /// told apart counts as attached.
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
        // SAFETY: the kernel has said that it is a tcx link, so that this member of the union is the one it wrote.
        unsafe { info.__bindgen_anon_1.tcx.ifindex != 0 }
    }

    /// A descriptor of the program of one's own, which stays when the link goes.
    pub fn program(&self) -> Option<OwnedFd> {
        self.program.as_ref()?.try_clone().ok()
    }

    pub(super) fn inner(&self) -> &libbpf_rs::Link {
        &self.link
    }
}
