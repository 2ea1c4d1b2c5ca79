//! A node that is a QEMU guest with a kernel of its own, on the bridge of the other nodes. Its disk holds what it runs, each
//! file at the path that it has on this machine; its console is `log/machine` of the node's folder.

mod disk;
mod import;
mod initramfs;
mod machine;
mod programs;
mod scripts;

use std::path::Path;

use crate::addresses::NodeNumber;
use crate::cgroups::Hierarchies;
use crate::daemon::{Daemon, running};
use crate::error::Result;
use crate::files;
use crate::state::State;

pub(crate) use disk::Content;
pub(crate) use import::import;
pub(crate) use programs::TOOLS;

/// QEMU's name among the daemons.
pub(crate) const MACHINE: &str = "machine";

/// Starts the machine, with a new disk where there is none yet. Returns at once: booting takes tens of seconds.
pub(crate) fn start(state: &State, node: NodeNumber, kernel: &Path, content: &Content<'_>) -> Result<()> {
    let folder = state.node_folder(node);
    if running(&folder, MACHINE, &state.folder).is_some() {
        return Ok(());
    }
    let parts = machine::Parts {
        kernel: kernel.join("vmlinuz"),
        initramfs: folder.join("initramfs"),
        disk: folder.join("disk"),
    };
    if !parts.disk.exists() {
        files::write(&parts.initramfs, initramfs::build(kernel)?)?;
        disk::create(state, node, content, &parts.disk)?;
    }
    let machine = Daemon {
        name: MACHINE,
        home: folder,
        cluster: state.folder.clone(),
        program: machine::PROGRAM.into(),
        arguments: machine::arguments(&parts, node),
        environment: Vec::new(),
        cgroups: vec![Hierarchies::of_this_machine()?.create(&node.name())?],
        namespace: None,
    };
    machine.start().map(|_| ())
}
