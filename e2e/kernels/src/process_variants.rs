//! Makes processes in ways that a shell does not: `process-variants VARIANT [ARGUMENT...]`. Further arguments only mark the
//! events of the process. Statuses tell the children apart.

#![allow(unsafe_code, reason = "calls that have no safe form: clone without exec, credentials of one thread, fexecve")]

mod tls_library;

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::process::CommandExt,
    },
    process::Command,
    ptr, thread,
};

/// A user that is not root.
const USER: libc::uid_t = 1000;
const CAP_CHOWN: u32 = 0;
const CAP_NET_RAW: u32 = 13;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        // The kernel makes it a child of our parent.
        ["sibling", ..] => clone(libc::CLONE_PARENT, 21),
        ["thread-sibling", ..] => in_a_thread(|| clone(libc::CLONE_PARENT, 22)),
        // posix_spawn: the child borrows our memory until its exec, which fails.
        ["vfork", ..] => {
            Command::new("/does-not-exist").status().map_or(Ok(()), |_| Err(io::Error::other("it exists")))
        }
        ["thread-uid", ..] => in_a_thread(|| {
            // SAFETY: numbers only. The call of libc would change every thread.
            checked(unsafe { libc::syscall(libc::SYS_setresuid, USER, USER, USER) })?;
            clone(0, 23)
        }),
        ["memfd", program, arguments @ ..] => exec_file(&in_memory(program)?, arguments),
        ["open", program, arguments @ ..] => exec_file(&File::open(program)?, arguments),
        ["as", argv0, program, arguments @ ..] => Err(Command::new(program).arg0(argv0).args(arguments).exec()),
        ["file-caps", program, arguments @ ..] => exec_with_file_caps(program, arguments),
        ["file-caps-no-new-privs", program, arguments @ ..] => {
            let (yes, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
            // SAFETY: numbers only.
            checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none) }.into())?;
            exec_with_file_caps(program, arguments)
        }
        ["socket-of-the-parent", marks @ ..] => connect_in_a_child(marks),
        ["connect", socket, first, second, third, ..] => {
            let socket = socket.parse().map_err(io::Error::other)?;
            [first, second, third].into_iter().try_for_each(|port| connect(socket, port))
        }
        ["tls", requests] => tls_library::exchange(requests.parse().map_err(io::Error::other)?),
        ["changes", folder] => change_and_open(folder),
        _ => Err(io::Error::other(format!("there is no variant {words:?}"))),
    }
}

fn checked(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn in_a_thread(act: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    thread::spawn(act).join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}

/// A child that ends at once, without an exec.
fn clone(flags: libc::c_int, status: libc::c_int) -> io::Result<()> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    let none: libc::c_long = 0;
    // SAFETY: without CLONE_VM the child has its own memory; it only ends.
    let child = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    if child == 0 {
        // SAFETY: ends the process.
        unsafe { libc::_exit(status) };
    }
    checked(child)
}

/// Opens files, which need not exist, as its namespaces and capabilities change; the last one after an exec.
fn change_and_open(folder: &str) -> io::Result<()> {
    let open = |name: &str| drop(File::open(format!("{folder}/{name}")));
    open("before");
    // SAFETY: numbers only.
    checked(unsafe { libc::unshare(libc::CLONE_NEWUTS) }.into())?;
    open("uts");
    drop_effective_capability(CAP_CHOWN)?;
    open("chown");
    Err(Command::new("/bin/cat").arg(format!("{folder}/executed")).exec())
}

fn drop_effective_capability(number: u32) -> io::Result<()> {
    // struct __user_cap_header_struct of version 3, and two __user_cap_data_struct: effective, permitted, inheritable.
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: both are as long as the kernel reads and writes.
    checked(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) })?;
    sets[0] &= !(1 << number);
    // SAFETY: the same.
    checked(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })
}

/// The program in a file without a directory.
fn in_memory(program: &str) -> io::Result<File> {
    // SAFETY: the name is a C string, and the descriptor, if there is one, is ours.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"payload".as_ptr(), 0);
        checked(fd.into())?;
        File::from_raw_fd(fd)
    };
    io::copy(&mut File::open(program)?, &mut file)?;
    Ok(file)
}

/// Executes an open file as `true`.
fn exec_file(file: &File, arguments: &[&str]) -> io::Result<()> {
    let words = ["true"].iter().chain(arguments).map(|word| CString::new(*word)).collect::<Result<Vec<_>, _>>()?;
    let mut argv: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    argv.push(ptr::null());
    // SAFETY: both lists end with a null pointer; the strings live until the call.
    unsafe { libc::fexecve(file.as_raw_fd(), argv.as_ptr(), [ptr::null()].as_ptr()) };
    Err(io::Error::last_os_error())
}

/// Gives a program CAP_NET_RAW and executes it as a user without capabilities.
fn exec_with_file_caps(program: &str, arguments: &[&str]) -> io::Result<()> {
    // struct vfs_cap_data, revision 2, with the effective bit: permitted and inheritable, lower and upper half.
    let words: [u32; 5] = [0x0200_0001, 1 << CAP_NET_RAW, 0, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let path = CString::new(program)?;
    let name = c"security.capability";
    // SAFETY: C strings, and a buffer with its length.
    let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    checked(set.into())?;
    Err(Command::new(program).args(arguments).uid(USER).gid(USER).exec())
}

/// A child that this program starts as another one connects a socket that was opened here, three times.
fn connect_in_a_child(marks: &[&str]) -> io::Result<()> {
    // SAFETY: numbers only. Without SOCK_CLOEXEC the child has the socket too.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
    checked(socket.into())?;
    let arguments = ["connect", &socket.to_string(), "4449", "4450", "4449"].map(str::to_owned);
    let program = std::env::current_exe()?;
    let status = Command::new(program).args(arguments).args(marks).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// Asks a port of this machine at which nothing listens.
fn connect(socket: libc::c_int, port: &str) -> io::Result<()> {
    let port: u16 = port.parse().map_err(io::Error::other)?;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(std::net::Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    };
    let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the address lives until the call has ended.
    let answer = unsafe { libc::connect(socket, (&raw const address).cast(), size) };
    match checked(answer.into()) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        other => other,
    }
}
