//! A library of TLS as the agent sees one: functions with the names of OpenSSL that read and write records on a socket. The records
//! hide their bytes and protect nothing. `exchange` is both ends of a connection that uses it.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// In place of a cipher.
const MASK: u8 = 0x5a;
/// Data, of TLS 1.2.
const HEADER: [u8; 3] = [23, 3, 3];

/// The object that the functions are called with.
pub(crate) struct Connection {
    stream: TcpStream,
}

impl Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header)?;
        let mut record = vec![0; u16::from_be_bytes([header[3], header[4]]).into()];
        self.stream.read_exact(&mut record)?;
        let count = record.len().min(bytes.len());
        bytes[..count].iter_mut().zip(record).for_each(|(to, byte)| *to = byte ^ MASK);
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut record = HEADER.to_vec();
        record.extend(u16::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes());
        record.extend(bytes.iter().map(|byte| byte ^ MASK));
        self.stream.write_all(&record)?;
        Ok(bytes.len())
    }
}

fn number(result: io::Result<usize>) -> libc::c_int {
    result.ok().and_then(|count| count.try_into().ok()).unwrap_or(-1)
}

/// Reads what one record has; below 0 at the end.
///
/// # Safety
/// `bytes` are `count` bytes that nothing else uses meanwhile.
#[unsafe(no_mangle)]
#[inline(never)]
#[allow(non_snake_case, reason = "the name of OpenSSL's function")]
pub(crate) unsafe extern "C" fn SSL_read(
    connection: &mut Connection,
    bytes: *mut u8,
    count: libc::c_int,
) -> libc::c_int {
    // SAFETY: as the caller promises.
    let bytes = unsafe { std::slice::from_raw_parts_mut(bytes, count as usize) };
    number(connection.read(bytes))
}

/// Writes one record.
///
/// # Safety
/// `bytes` are `count` bytes.
#[unsafe(no_mangle)]
#[inline(never)]
#[allow(non_snake_case, reason = "the name of OpenSSL's function")]
pub(crate) unsafe extern "C" fn SSL_write(
    connection: &mut Connection,
    bytes: *const u8,
    count: libc::c_int,
) -> libc::c_int {
    // SAFETY: as the caller promises.
    let bytes = unsafe { std::slice::from_raw_parts(bytes, count as usize) };
    number(connection.write(bytes))
}

fn receive(connection: &mut Connection) -> Option<String> {
    let mut bytes = [0; 1024];
    // SAFETY: the pointer and the length are those of one array.
    let count = unsafe { SSL_read(connection, bytes.as_mut_ptr(), bytes.len() as libc::c_int) };
    let text = bytes.get(..usize::try_from(count).ok()?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn send(connection: &mut Connection, text: &str) {
    // SAFETY: the pointer and the length are those of one text.
    unsafe { SSL_write(connection, text.as_ptr(), text.len() as libc::c_int) };
}

/// Sends so many requests of HTTP, one a second, from one thread to another: `/item/0`, `/item/1`, ...
pub(crate) fn exchange(requests: u32) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = Connection { stream: TcpStream::connect(listener.local_addr()?)? };
    let mut server = Connection { stream: listener.accept()?.0 };
    let server = thread::spawn(move || {
        while receive(&mut server).is_some() {
            send(&mut server, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nitem");
        }
    });
    for number in 0..requests {
        send(&mut client, &format!("GET /item/{number} HTTP/1.1\r\nHost: reef\r\n\r\n"));
        receive(&mut client).ok_or_else(|| io::Error::other("the server has gone"))?;
        thread::sleep(std::time::Duration::from_secs(1));
    }
    drop(client);
    server.join().map_err(|_| io::Error::other("the server panicked"))
}
