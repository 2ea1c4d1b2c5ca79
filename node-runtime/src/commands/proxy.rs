//! `trilobite-node proxy`: joins standard input and output to the agent's socket. Clients run it by `kubectl exec`, so that the API
//! server's RBAC on pods/exec controls access.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use tokio::{
    fs::File,
    io::{AsyncWriteExt, copy},
    net::UnixStream,
};

/// Copies in both directions until the agent closes its side.
pub(super) async fn join_to_socket(socket: &Path) -> io::Result<()> {
    let (mut from_agent, mut to_agent) = UnixStream::connect(socket).await?.into_split();
    let requests = async {
        copy(&mut unbuffered(io::stdin().as_fd())?, &mut to_agent).await?;
        to_agent.shutdown().await
    };
    let answers = async {
        let mut out = unbuffered(io::stdout().as_fd())?;
        copy(&mut from_agent, &mut out).await?;
        out.flush().await
    };
    tokio::select! {
        result = answers => result,
        // The client may close its side first and still read answers.
        result = requests => { result?; std::future::pending().await }
    }
}

/// An unbuffered duplicate: the standard handles buffer lines.
fn unbuffered(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from_std(std::fs::File::from(descriptor.try_clone_to_owned()?)))
}
