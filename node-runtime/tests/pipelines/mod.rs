//! Both ends of a connection on which a client sends many requests in one call, and a server many answers.

/// One Redis command, and after a pause a thousand in one write, with their answers in another. Argument: port.
pub(crate) const REDIS: &str = r#"
def word(text): return b"$%d\r\n%s\r\n" % (len(text), text)
def command(*words): return b"*%d\r\n" % len(words) + b"".join(map(word, words))
many = [command(b"SET", b"key:%03d" % number, b"secret:%03d" % number) for number in range(1000)]
turns = [(command(b"GET", b"first"), word(b"ok")), (b"".join(many), b"+OK\r\n" * 1000)]
"#;

/// A simple query of PostgreSQL, and after a pause 300 statements of the extended protocol in one write.
pub(crate) const PGSQL: &str = r#"
import struct
def message(kind, body): return kind + struct.pack("!I", 4 + len(body)) + body
def statement(number):
    text = b"SELECT name FROM item_%03d WHERE id = $1\0" % number
    return (message(b"P", b"\0" + text + b"\0\0") + message(b"B", b"\0\0" + b"\0\0" + struct.pack("!HI", 1, 3) + b"123" + b"\0\0")
        + message(b"E", b"\0\0\0\0\0"))
row = message(b"D", struct.pack("!HI", 1, 4) + b"name")
done = message(b"C", b"SELECT 1\0")
ready = message(b"Z", b"I")
startup = struct.pack("!I", 196608) + b"user\0reef\0\0"
turns = [
    (struct.pack("!I", 4 + len(startup)) + startup, message(b"R", b"\0\0\0\0") + ready),
    (message(b"Q", b"SELECT 1\0"), done + ready),
    (b"".join(map(statement, range(300))) + message(b"S", b""), (message(b"1", b"") + message(b"2", b"") + row + done) * 300 + ready),
]
"#;

/// Plays the turns of a script.
pub(crate) const PLAY: &str = r#"
import socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def receive(connection, length):
    while length > 0:
        length -= len(connection.recv(min(65536, length)))
def serve():
    connection = listener.accept()[0]
    for request, answer in turns:
        receive(connection, len(request))
        connection.sendall(answer)
    connection.recv(1)
server = threading.Thread(target=serve)
server.start()
client = socket.create_connection(listener.getsockname())
for request, answer in turns:
    client.sendall(request)
    receive(client, len(answer))
    # Until the agent has written what is wanted of this connection.
    time.sleep(0.5)
client.close()
server.join()
"#;
