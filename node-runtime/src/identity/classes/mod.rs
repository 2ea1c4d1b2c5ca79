//! Classes of cgroups. A cgroup has a class, and each hook of the security layer has a row for each class: rows are written
//! before a cgroup gets the class.

mod answers;
mod pod_answers;
mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use answers::{Answer, ClassAnswers};
pub(super) use pod_answers::PodAnswersCache;
pub(super) use table::DesiredGroup;
pub(super) use writer::{ClassWriter, SelectionKernelMaps};

/// Called with a class and its answers before any cgroup has the class with these answers, and once for every class that is in
/// use when it is registered. Class 0 is never passed: nothing is decided there, so that its row is "unknown" for every scope.
///
/// It is called under identity's lock: it must not call `IdentityService`, and its own lock must not be held by a caller of
/// `IdentityService`. A selector whose answer changes from unknown to selected is in both halves of a row in between.
pub type ClassListener = Box<dyn Fn(u32, &ClassAnswers) + Send + Sync>;
