//! Brings image archives to a running guest: one connection for each, to the port that its init serves.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::addresses::NodeNumber;
use crate::error::{Error, Result};
use crate::files;

/// Free on a node: kubelet has 10250, kube-proxy 10256.
pub(super) const PORT: u16 = 10_260;

/// The last line of the answer where containerd has the image.
const IMPORTED: &str = "imported";

/// An emulated processor unpacks some megabytes a second.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn import(node: NodeNumber, archive: &Path) -> Result<()> {
    import_at((node.v4().into(), PORT), archive)
}

fn import_at(address: (IpAddr, u16), archive: &Path) -> Result<()> {
    let bytes = files::read_bytes(archive)?;
    let send = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&bytes)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = send().map_err(Error::file("bring to the guest", archive))?;
    if answer.lines().last() == Some(IMPORTED) {
        return Ok(());
    }
    Err(Error::Refused(format!("the guest did not import {}: {}", archive.display(), answer.trim())))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// A guest that reads an archive to its end and answers this.
    fn guest(answer: &'static str) -> (IpAddr, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut archive = Vec::new();
            stream.read_to_end(&mut archive).unwrap();
            assert_eq!(archive, b"layers");
            stream.write_all(answer.as_bytes()).unwrap();
        });
        (Ipv4Addr::LOCALHOST.into(), port)
    }

    #[test]
    fn archive_is_imported_when_the_guest_says_so_at_the_end() {
        let archive = tempfile::NamedTempFile::new().unwrap();
        files::write(archive.path(), "layers").unwrap();
        import_at(guest("unpacking localhost/pause:1 ...done\nimported\n"), archive.path()).unwrap();
        for failed in ["ctr: content digest: not found\n", "", "imported images: none\n"] {
            let error = import_at(guest(failed), archive.path()).unwrap_err().to_string();
            assert!(error.contains(failed.trim()) && error.contains("did not import"), "{error}");
        }
    }
}
