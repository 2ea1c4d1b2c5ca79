//! A result while the worker sends it, and what is left of it if the worker fails.

use std::io;

use trilobite_worker_wire::SampleCounts;

use super::deliver::ResultWriter;

#[derive(Default)]
pub(super) struct IncomingResult {
    writer: Option<ResultWriter>,
    folded: Folded,
    /// The file whose contents the worker reads, as it says.
    reading: Option<String>,
}

/// The folded stacks that have arrived completely, with their counts.
#[derive(Clone, Copy, Default)]
enum Folded {
    #[default]
    Nothing,
    /// Frames have the names of files alone.
    FileNames(SampleCounts),
    FunctionNames(SampleCounts),
}

impl IncomingResult {
    /// The writer, which `begin` creates at the first call.
    pub(super) fn writer(&mut self, begin: impl FnOnce() -> io::Result<ResultWriter>) -> io::Result<&mut ResultWriter> {
        match &mut self.writer {
            Some(writer) => Ok(writer),
            none => Ok(none.insert(begin()?)),
        }
    }

    /// A text is complete: the first has the names of files alone, the second those of functions.
    pub(super) fn text_is_complete(&mut self, counts: SampleCounts) {
        self.folded = match self.folded {
            Folded::Nothing => Folded::FileNames(counts),
            Folded::FileNames(_) | Folded::FunctionNames(_) => Folded::FunctionNames(counts),
        }
    }

    pub(super) fn worker_reads(&mut self, file: String) {
        self.reading = Some(file);
    }

    /// Removes the incomplete picture. Returns the counts of the last complete text.
    pub(super) fn abandon(&mut self) -> SampleCounts {
        if let Some(writer) = &mut self.writer {
            writer.discard_svg();
        }
        match self.folded {
            Folded::Nothing => SampleCounts::default(),
            Folded::FileNames(counts) | Folded::FunctionNames(counts) => counts,
        }
    }

    /// The writer for the last step; an empty one if nothing was written.
    pub(super) fn into_writer(self, begin: impl FnOnce() -> io::Result<ResultWriter>) -> io::Result<ResultWriter> {
        self.writer.map_or_else(begin, Ok)
    }

    /// What happened to the worker, and what it means for the profile.
    pub(super) fn describe_failure(&self, error: &str) -> String {
        match (self.folded, &self.reading) {
            (Folded::Nothing, _) => format!("{error}; its samples are lost and counted"),
            (Folded::FileNames(_), None) => format!("{error}; the profile is stored with the names of files alone"),
            (Folded::FileNames(_), Some(file)) => {
                format!("{error} while it read {file}; the profile is stored with the names of files alone")
            }
            (Folded::FunctionNames(_), _) => format!("{error}; the profile is stored without a picture"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_says_what_is_left_of_the_profile() {
        let counts = SampleCounts { samples: 7, ..SampleCounts::default() };
        let mut result = IncomingResult::default();
        assert_eq!(result.describe_failure("gone"), "gone; its samples are lost and counted");
        assert_eq!(result.abandon(), SampleCounts::default());
        result.text_is_complete(counts);
        result.worker_reads("libc.so.6".into());
        assert!(result.describe_failure("gone").starts_with("gone while it read libc.so.6; "));
        assert_eq!(result.abandon(), counts);
        result.text_is_complete(counts);
        assert_eq!(result.describe_failure("gone"), "gone; the profile is stored without a picture");
    }
}
