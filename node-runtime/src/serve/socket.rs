//! The agent's socket: mode 0600, replaced at the start of an agent, removed at its end.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

#[derive(Debug, thiserror::Error)]
#[error("the agent's socket {path}: {source}")]
pub struct SocketError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// A listening socket that removes its file when it is dropped.
pub struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`. Replaces the socket of an agent that has died, but not one that answers.
    pub fn listen(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let fail = |source| SocketError { path: path.to_owned(), source };
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(fail(io::Error::new(io::ErrorKind::AddrInUse, "another agent uses it")));
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(fail)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(fail)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
        Ok((Self { path: path.to_owned() }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the socket was removed already");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = std::env::temp_dir().join(format!("trilobite-socket-{}", std::process::id()));
        let path = folder.join("agent.sock");
        fs::create_dir_all(&folder).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

        let (socket, _listener) = Socket::listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Socket::listen(&path).is_err());

        drop(socket);
        assert!(!path.exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
