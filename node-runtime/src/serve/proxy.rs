//! A client's way in: standard input and output, joined to the agent's socket. Run by `kubectl exec`, so that the API
//! server's RBAC on pods/exec is the lock.

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

/// Copies both ways until one side ends.
pub async fn run(socket: &Path) -> io::Result<()> {
    let (mut from_agent, mut to_agent) = UnixStream::connect(socket).await?.into_split();
    let inward = async {
        copy(&mut standard(io::stdin().as_fd())?, &mut to_agent).await?;
        to_agent.shutdown().await
    };
    let outward = async {
        let mut out = standard(io::stdout().as_fd())?;
        copy(&mut from_agent, &mut out).await?;
        out.flush().await
    };
    tokio::select! {
        result = outward => result,
        // The client may close its side first and still read the answer.
        result = inward => { result?; std::future::pending().await }
    }
}

/// Bytes as they come, without the line buffer of the standard handles.
fn standard(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from_std(std::fs::File::from(descriptor.try_clone_to_owned()?)))
}
