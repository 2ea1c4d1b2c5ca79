//! Probes in files, shared by all sessions of a node: a file that several sessions follow is probed once, until the last of them
//! has ended. What is known of a file is kept, so that it is inspected once.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use rustix::fs::fstat;
use trilobite_worker_wire::Inspection;

use super::{exclusions::Exclusions, programs};
use crate::{kernel::Link, layers::application::requests::SharedCapture, problem::Problem};

/// Files whose inspections are kept.
const INSPECTIONS_MAX: usize = 1024;

/// Identity and state of a file: an inode that was written to, or given to another file, is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl FileStamp {
    pub(super) fn read(file: impl AsFd) -> io::Result<Self> {
        let stat = fstat(file)?;
        let nanoseconds = |seconds: i64, rest: u64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        })
    }
}

/// A file that is probed while this lives.
pub(super) struct ProbedFile {
    _links: Vec<Link>,
}

/// A shared handle.
#[derive(Clone, Default)]
pub(in crate::layers::application) struct TlsProbes(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    probed: HashMap<FileStamp, Weak<ProbedFile>>,
    inspections: HashMap<FileStamp, Inspection>,
    exclusions: Exclusions,
}

impl TlsProbes {
    /// What is known of a file.
    pub(super) fn inspection(&self, stamp: FileStamp) -> Option<Inspection> {
        self.0.lock().inspections.get(&stamp).cloned()
    }

    pub(super) fn keep_inspection(&self, stamp: FileStamp, inspection: Inspection) {
        let mut shared = self.0.lock();
        if shared.inspections.len() >= INSPECTIONS_MAX {
            shared.inspections.clear();
        }
        shared.inspections.insert(stamp, inspection);
    }

    /// Replaces the cgroups whose TLS one session leaves alone.
    pub(super) fn exclude(&self, capture: &SharedCapture, before: &HashSet<u64>, after: &HashSet<u64>) {
        let mut shared = self.0.lock();
        let changes = shared.exclusions.replace(before, after);
        programs::write(capture, |capture| {
            changes.iter().for_each(|(cgroup, is_excluded)| programs::set_excluded(capture, *cgroup, *is_excluded));
        });
    }

    /// Probes a file, unless another session has.
    pub(super) fn attach(
        &self,
        capture: &SharedCapture,
        file: BorrowedFd<'_>,
        stamp: FileStamp,
        inspection: &Inspection,
    ) -> Result<Arc<ProbedFile>, Problem> {
        let mut shared = self.0.lock();
        if let Some(probed) = shared.probed.get(&stamp).and_then(Weak::upgrade) {
            return Ok(probed);
        }
        let links = capture.with(|capture| programs::attach(capture, file, inspection))?;
        let probed = Arc::new(ProbedFile { _links: links });
        shared.probed.retain(|_, probed| probed.strong_count() > 0);
        shared.probed.insert(stamp, Arc::downgrade(&probed));
        Ok(probed)
    }
}
