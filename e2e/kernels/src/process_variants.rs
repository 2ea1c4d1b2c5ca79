//! Makes processes in ways that a shell does not: `process-variants VARIANT [ARGUMENT...]`. Further arguments only mark the
//! events of the process. Statuses tell the children apart.

#![allow(unsafe_code, reason = "calls that have no safe form: clone without exec, credentials of one thread, fexecve")]

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
