//! The file that a session is recorded to. The worker makes its contents, and is not trusted with more of the disk than was asked for.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::watch;
use trilobite_worker_wire::RecordingSettings;

/// A recording, and how it ended.
#[derive(Debug)]
pub struct RequestRecording(Arc<Shared>);

/// What a session writes a recording by. Dropping it ends the recording.
#[derive(Debug)]
pub struct RecordingWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: RecordingSettings,
    file: Mutex<Written>,
    /// Whether nothing more comes.
    ended: watch::Sender<bool>,
}

#[derive(Debug)]
struct Written {
    file: File,
    bytes: u64,
    problem: Option<String>,
}

impl RequestRecording {
    /// Creates the file, which only its owner may read. One that exists is left as it is.
    pub fn create(path: &Path, settings: RecordingSettings) -> io::Result<(Self, RecordingWriter)> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let written = Written { file, bytes: 0, problem: None };
        let shared = Arc::new(Shared { settings, file: Mutex::new(written), ended: watch::channel(false).0 });
        Ok((Self(Arc::clone(&shared)), RecordingWriter(shared)))
    }

    /// Waits until nothing more comes. Returns why the recording is incomplete.
    pub async fn wait(&self) -> Option<String> {
        // The sender lives as long as this.
        let _ = self.0.ended.subscribe().wait_for(|ended| *ended).await;
        self.0.file.lock().problem.clone()
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.0.file.lock().bytes
    }
}

impl RecordingWriter {
    pub(super) fn settings(&self) -> RecordingSettings {
        self.0.settings.clone()
    }

    /// Appends what the worker has recorded; nothing is its end.
    pub(super) fn append(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return self.finish(None);
        }
        let mut written = self.0.file.lock();
        written.bytes += bytes.len() as u64;
        let done = match written.bytes <= self.0.settings.max_bytes {
            true => written.file.write_all(bytes).map_err(|error| error.to_string()),
            false => Err("the worker process sends more than was asked for".to_owned()),
        };
        drop(written);
        if let Err(problem) = done {
            self.finish(Some(&problem));
        }
    }

    /// No more is written. `problem`: why the recording is incomplete.
    pub(super) fn finish(&self, problem: Option<&str>) {
        let mut written = self.0.file.lock();
        if !self.has_ended() {
            written.problem = problem.map(str::to_owned);
            self.0.ended.send_replace(true);
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.0.ended.borrow()
    }
}

impl Drop for RecordingWriter {
    fn drop(&mut self) {
        self.finish(Some("the session ended before the worker process had sent all of it"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(folder: &Path, max_bytes: u64) -> (RequestRecording, RecordingWriter) {
        let settings = RecordingSettings { max_bytes, ..RecordingSettings::default() };
        RequestRecording::create(&folder.join("file"), settings).unwrap()
    }

    #[tokio::test]
    async fn end_is_said_once_nothing_more_comes() {
        let folder = tempfile::tempdir().unwrap();
        let (recording, writer) = recording(folder.path(), 100);
        writer.append(b"begin");
        assert!(!writer.has_ended());
        writer.append(b"");
        drop(writer);
        assert_eq!(recording.wait().await, None);
        assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"begin");
    }

    #[tokio::test]
    async fn worker_cannot_fill_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let (recording, writer) = recording(folder.path(), 8);
        writer.append(b"12345678");
        writer.append(b"9");
        assert!(recording.wait().await.is_some());
        assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"12345678");
    }

    #[tokio::test]
    async fn writer_that_is_dropped_early_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (recording, writer) = recording(folder.path(), 8);
        drop(writer);
        assert!(recording.wait().await.is_some());
    }

    #[test]
    fn existing_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "mine").unwrap();
        assert!(RequestRecording::create(&folder.path().join("file"), RecordingSettings::default()).is_err());
    }
}
