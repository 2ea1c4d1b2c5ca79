//! Programs whose calls on a socket show no buffer: by io_uring, and by a 32-bit system call of a 64-bit process.

use std::process::Command;

/// The exit code of a program that this kernel refuses.
const REFUSED: i32 = 77;

/// Sends `before `, then eleven bytes and receives six by io_uring, then sends `after`.
pub(crate) const BY_IO_URING: &str = r#"
import ctypes, mmap, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
parameters = ctypes.create_string_buffer(120)
ring = libc.syscall(425, 4, parameters)
if ring < 0:
    sys.exit(77)
number = lambda memory, at: struct.unpack_from("I", memory, at)[0]
# Offsets in the rings. Submissions: head, tail, mask, entries, flags, dropped, array; completions: head, tail, mask, entries, overflow, entries.
submission = [number(parameters, 40 + 4 * at) for at in range(7)]
completion = [number(parameters, 80 + 4 * at) for at in range(6)]
count, completions = number(parameters, 0), number(parameters, 4)
rings = mmap.mmap(ring, max(submission[6] + 4 * count, completion[5] + 16 * completions))
entries = mmap.mmap(ring, 64 * count, offset=0x10000000)
def transfer(operation, buffer, length):
    tail = number(rings, submission[1])
    at = tail & number(rings, submission[2])
    struct.pack_into("<BBHiQQIIQ", entries, 64 * at, operation, 0, 0, connection.fileno(), 0, ctypes.addressof(buffer), length, 0, 1)
    struct.pack_into("I", rings, submission[6] + 4 * at, at)
    struct.pack_into("I", rings, submission[1], tail + 1)
    assert libc.syscall(426, ring, 1, 1, 1, None, 0) == 1
    head = number(rings, completion[0])
    entry = completion[5] + 16 * (head & number(rings, completion[2]))
    result = struct.unpack_from("i", rings, entry + 8)[0]
    struct.pack_into("I", rings, completion[0], head + 1)
    assert result == length, result
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(b"before ")
transfer(26, ctypes.create_string_buffer(b"by io_uring"), 11)
transfer(27, ctypes.create_string_buffer(6), 6)
connection.sendall(b"after")
connection.recv(1)
"#;

/// The same by `int 0x80`. The kernel has two tables of system calls, and numbers of one mean something else in the other: 3 and 4
/// are read and write here, close and stat there.
pub(crate) const BY_32_BIT_CALL: &str = r#"
import ctypes, mmap, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
# push rbx; mov eax, edi; mov ebx, esi; xchg edx, ecx; int 0x80; pop rbx; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes([0x53, 0x89, 0xf8, 0x89, 0xf3, 0x87, 0xd1, 0xcd, 0x80, 0x5b, 0xc3]))
place = ctypes.addressof(ctypes.c_char.from_buffer(code))
call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint)(place)
child = os.fork()
if child == 0:
    os._exit(0 if call(20, 0, 0, 0) == os.getpid() else 77)
if os.waitpid(child, 0)[1] != 0:
    sys.exit(77)
# Below 4 GiB.
buffer = libc.mmap(None, 4096, 3, 0x22 | 0x40, -1, 0)
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(b"before ")
ctypes.memmove(buffer, b"by int 0x80", 11)
assert call(4, connection.fileno(), buffer, 11) == 11
assert call(3, connection.fileno(), buffer, 6) == 6
connection.sendall(b"after")
connection.recv(1)
"#;

/// Runs a program with a port; false if this kernel does not have its calls.
pub(crate) fn transfer(program: &str, port: u16) -> bool {
    let status = Command::new("python3").args(["-c", program, &port.to_string()]).status().unwrap();
    assert!(status.success() || status.code() == Some(REFUSED), "{status}");
    status.success()
}
