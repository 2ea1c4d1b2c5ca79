//! What keeps a program attached. Owned by the process: dropping it detaches.

/// An attachment. There is no pinned kind yet; it will be a type of its own.
#[derive(Debug)]
pub struct Link(libbpf_rs::Link);

impl Link {
    pub(super) fn new(link: libbpf_rs::Link) -> Self {
        Self(link)
    }

    pub(super) fn inner(&self) -> &libbpf_rs::Link {
        &self.0
    }

    pub(super) fn inner_mut(&mut self) -> &mut libbpf_rs::Link {
        &mut self.0
    }
}
