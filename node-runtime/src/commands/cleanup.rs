//! `trilobite-node cleanup`: removes what a killed agent has left in the kernel. Links end with the process; filters of clsact, which
//! kernels before 6.6 need for flows, do not.

use std::{io::Write, path::Path};

use crate::layers::network::sources::filter_manifest::FilterManifest;

pub(super) fn remove_filters(state_dir: &Path) -> anyhow::Result<()> {
    let removed = FilterManifest::read(state_dir).remove_all();
    writeln!(std::io::stdout(), "{removed} filters removed")?;
    Ok(())
}
