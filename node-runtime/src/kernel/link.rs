//! What keeps a program attached. Owned by the process: dropping it detaches.

use std::os::fd::{AsFd, OwnedFd};

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

    pub(super) fn inner(&self) -> &libbpf_rs::Link {
        &self.link
    }
}
