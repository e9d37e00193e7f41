"""Peers of a JSON-RPC server that misbehave, over unix sockets, TCP and TLS:
each ends in one line and a closed connection, nobody else notices, and the
server neither grows nor keeps a descriptor."""
import collections
import contextlib
import json
import os
import resource
import socket
import ssl
import subprocess
import threading
import time

import pytest

from lib import paths
from lib.process import SOON_S, status_fields, wait_until

PROGRAM = paths.BUILD / "tests" / "programs" / "reeve-test"
MAX_CONNECTIONS = 100
MAX_MESSAGE = 1 << 20
MAX_DEPTH = 100
CONNECT_MS = 4000
# What the server may grow by under all of this: some messages and backlogs at
# their limits at once.
MAX_GROWTH_KB = 16 * 1024
# A sanitizer's memory and time are not the server's own.
IS_SANITIZED = PROGRAM.exists() and b"__asan_init" in PROGRAM.read_bytes()
# One answer to one who behaves, on a machine that may be busy.
AT_ONCE = 8.0  # No measurement: whoever hangs takes longer.
ECHO = b'{"id":1,"method":"echo","params":["hello"]}'
REPLY = {"id": 1, "result": ["hello"], "error": None}

pytestmark = pytest.mark.skipif(not PROGRAM.exists(),
                                reason=f"{PROGRAM} is not built")


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True,
                   capture_output=True)


def make_certificates(folder):
    """An authority 'ca' that signed 'server' and 'client'; 'stranger' has
    signed itself."""
    for name in ("ca", "stranger"):
        openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}-key.pem", "-out", f"{name}-cert.pem")
    for name in ("server", "client"):
        openssl(folder, "req", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}-key.pem", "-out", f"{name}.csr")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA",
                "ca-cert.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
                "-out", f"{name}-cert.pem")


class Server:
    """reeve-test test-serve, and what it says."""

    def __init__(self, names, options=(), limit=None):
        def prepare():
            if limit:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        self.lines = []
        self.mark = 0
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [str(PROGRAM), "test-serve", *options, *names],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=prepare)
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        self.names = [self.wait_line(lambda line: line.startswith(
            "listening ") and line not in self.lines[:i]).split()[1]
            for i, _ in enumerate(names)]

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()

    def wait_line(self, matches, timeout=60):
        """The first line that matches."""
        def find():
            return next(filter(matches, self.lines), None)
        with self.changed:
            assert self.changed.wait_for(find, timeout), self.lines[-20:]
            return find()

    def port(self, scheme):
        return next(int(name.split(":")[1]) for name in self.names
                    if name.startswith(scheme))

    def n_fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def high_kb(self):
        return int(status_fields(self.pid)["VmHWM"].split()[0])

    def stop(self):
        self.process.stdin.close()
        status = self.process.wait(SOON_S)
        self.reader.join()
        return status


class Client:
    """One connection to the server, of one kind."""

    def __init__(self, place, kind, identity="client", handshakes=True):
        self.kind = kind
        if kind == "unix":
            self.socket = socket.socket(socket.AF_UNIX)
            self.name = "unix#"
            self.socket.settimeout(SOON_S)
            self.socket.connect(place.path)
            return
        self.socket = socket.create_connection(
            ("127.0.0.1", place.server.port("p" + kind)), timeout=60)
        port = self.socket.getsockname()[1]
        self.name = f"{kind}:127.0.0.1:{port}"
        if kind == "ssl" and handshakes:
            context = place.context(identity)
            self.socket = context.wrap_socket(self.socket)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            pass

    def end(self):
        """Ends the sending half, if the server has not closed meanwhile."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def receive(self):
        """The next value that comes."""
        data = b""
        while True:
            piece = self.socket.recv(65536)
            assert piece, data
            data += piece
            try:
                return json.loads(data)
            except ValueError:
                pass

    def receive_all(self):
        """What comes until the server closes."""
        data = b""
        try:
            while piece := self.socket.recv(65536):
                data += piece
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            pass
        return data


class Place:
    """The server under test, and how to reach it."""

    def __init__(self, folder):
        self.folder = folder
        self.path = str(folder / "serve.sock")
        make_certificates(folder)
        self.server = Server(
            [f"punix:{self.path}", "ptcp:0:127.0.0.1", "pssl:0:127.0.0.1"],
            ["--max-connections", str(MAX_CONNECTIONS),
             "--connect-timeout", str(CONNECT_MS),
             "--max-message", str(MAX_MESSAGE),
             "--private-key", str(folder / "server-key.pem"),
             "--certificate", str(folder / "server-cert.pem"),
             "--ca-cert", str(folder / "ca-cert.pem")])
        self.expected = 0   # Lines about connections that have ended.
        for kind in KINDS:
            self.check_answers(kind)
        self.n_fds = self.server.n_fds()
        self.start_kb = self.server.high_kb()

    def context(self, identity):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.folder / "ca-cert.pem")
        if identity:
            context.load_cert_chain(self.folder / f"{identity}-cert.pem",
                                    self.folder / f"{identity}-key.pem")
        return context

    def ended(self):
        return [line for line in self.server.lines
                if line.startswith(("closed ", "refused "))]

    def wait_end(self, n=1):
        """The lines of the `n` connections that end now, no more and no
        fewer."""
        start = self.expected
        self.expected += n
        with self.server.changed:
            assert self.server.changed.wait_for(
                lambda: len(self.ended()) >= self.expected, SOON_S), (
                    n, self.ended()[start:])
        return self.ended()[start:]

    def expect(self, client, code, text=""):
        """One line, about this client, with the code (or one of several)."""
        lines = self.wait_end()
        assert len(lines) == 1, lines
        word, name, found, *rest = lines[0].split(" ", 3)
        codes = (code,) if isinstance(code, str) else code
        assert word == "closed" and name.startswith(client.name), lines
        assert found in codes, lines
        assert text in (rest[0] if rest else ""), lines
        assert found == "0" or rest, lines
        return lines[0]

    def check_answers(self, kind):
        start = time.monotonic()
        with Client(self, kind) as client:
            client.send(ECHO)
            assert client.receive() == REPLY
            assert time.monotonic() - start < AT_ONCE
            if kind == "ssl":
                client.socket = client.socket.unwrap()
        self.expect(client, "0")


KINDS = ["unix", "tcp", "ssl"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("hostile"))
    yield made
    growth = made.server.high_kb() - made.start_kb
    print(f"memory: from {made.start_kb} kB by {growth} kB at most")
    assert IS_SANITIZED or growth < MAX_GROWTH_KB
    assert made.server.stop() == 0


@pytest.fixture
def place(whole):
    """Nothing is left of a test in the server, and it answers at once."""
    whole.expected = len(whole.ended())
    yield whole
    for kind in KINDS:
        whole.check_answers(kind)
    wait_until(lambda: whole.server.n_fds() == whole.n_fds,
               what="descriptors closed")
    assert len(whole.ended()) == whole.expected, whole.ended()[-5:]


BAD_MESSAGES = {
    "a bracket": (b"}", "EPROTO"),
    "a bracket in it": (b'{"id":1,"method":"echo","params":[}}', "EPROTO"),
    "a word": (b"hello\n", "EPROTO"),
    "a number": (b"5 ", "EPROTO"),
    "an array": (b"[1]", "EPROTO"),
    "an empty object": (b"{}", "EPROTO"),
    "a byte order mark": (b"\xef\xbb\xbf" + ECHO, "EPROTO"),
    "bytes that are not UTF-8":
        (b'{"id":1,"method":"echo","params":["\xff\xfe"]}', "EPROTO"),
    "an overlong NUL":
        (b'{"id":1,"method":"echo","params":["\xc0\x80"]}', "EPROTO"),
    "a NUL": (ECHO + b"\0" + ECHO, "EPROTO"),
    "half a surrogate":
        (b'{"id":1,"method":"echo","params":["\\ud800"]}', "EPROTO"),
    "version 2.0": (b'{"jsonrpc":"2.0",' + ECHO[1:], "EPROTO"),
    "params by name": (b'{"id":1,"method":"echo","params":{}}', "EPROTO"),
    "no params": (b'{"id":1,"method":"echo"}', "EPROTO"),
    "a method that is a number":
        (b'{"id":1,"method":7,"params":[]}', "EPROTO"),
    "a result and an error":
        (b'{"id":1,"result":1,"error":1}', "EPROTO"),
    "a reply nobody asked for":
        (b'{"id":1,"result":[],"error":null}', "EPROTO"),
    "an error nobody asked for": (b'{"id":9,"error":"no"}', "EPROTO"),
    "deep nesting":
        (b'{"id":1,"method":"echo","params":' + b"[" * 5000, "E2BIG"),
    "deep objects": (b'{"a":' * 5000, "E2BIG"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "EPROTO"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", BAD_MESSAGES)
def test_bad_messages(place, kind, what):
    data, code = BAD_MESSAGES[what]
    with Client(place, kind) as client:
        client.send(ECHO)
        assert client.receive() == REPLY
        client.send(data)
        client.receive_all()
        place.expect(client, code)


@pytest.mark.parametrize("kind", KINDS)
def test_odd_messages_are_served(place, kind):
    """What is unusual but right costs nobody the connection."""
    with Client(place, kind) as client:
        for ident in (1.5, "text", {"a": [None]}, [], False, -1, 2 ** 62):
            client.send(json.dumps({"id": ident, "method": "echo",
                                    "params": [ident]}).encode())
            assert client.receive() == {"id": ident, "result": [ident],
                                        "error": None}
        client.send(b' \n\t{"id":2,"method":"none","params":[]}')
        assert client.receive() == {"id": 2, "error": "unknown method",
                                    "result": None}
        client.send(b'{"method":"none","params":[]}' * 1000 + ECHO)
        assert client.receive() == REPLY
    place.expect(client, ("0", "ECONNRESET"))


@pytest.mark.parametrize("kind", KINDS)
def test_one_gigabyte(place, kind):
    """It ends at the limit, far from the gigabyte."""
    sent = 0
    with Client(place, kind) as client:
        client.send(b'{"id":1,"method":"echo","params":["')
        piece = b"x" * (1 << 20)
        try:
            while sent < 1 << 30:
                sent += client.socket.send(piece)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            pass
        place.expect(client, "EMSGSIZE", "above the limit")
    print(f"{kind}: {sent >> 20} MB were taken by the sockets")
    assert sent < 64 << 20


@pytest.mark.parametrize("kind", KINDS)
def test_endless_white_space(place, kind):
    """White space between messages is no message: it is dropped as it
    comes."""
    with Client(place, kind) as client:
        for _ in range(64):
            client.send(b" \n" * (1 << 17))
        client.send(ECHO)
        assert client.receive() == REPLY
    place.expect(client, ("0", "ECONNRESET"))


@pytest.mark.parametrize("kind", KINDS)
def test_one_byte_at_a_time(place, kind):
    """The others are served between any two bytes of the slow one."""
    with Client(place, kind) as slow, Client(place, kind) as other:
        for byte in ECHO:
            slow.send(bytes([byte]))
            start = time.monotonic()
            other.send(ECHO)
            assert other.receive() == REPLY
            assert time.monotonic() - start < AT_ONCE
        assert slow.receive() == REPLY
    place.wait_end(2)


@pytest.mark.parametrize("kind", KINDS)
def test_closed_at_each_point_of_a_message(place, kind):
    """In the middle of a message that is told; at its end it is no fault."""
    for n in range(0, len(ECHO), 1 if kind != "ssl" else 6):
        with Client(place, kind) as client:
            client.send(ECHO[:n])
            if kind == "ssl":
                client.socket = client.socket.unwrap()
        place.expect(client, "ECONNRESET" if n else "0",
                     "in the middle of a message" if n else "")


@pytest.mark.parametrize("kind", KINDS)
def test_peers_that_never_read(place, kind):
    """Their requests wait in their own sockets, and what waits for them
    stays below the limit."""
    request = b'{"id":1,"method":"fill","params":[200000]}'
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(place, kind)) for _ in range(8)]
        for client in clients:
            client.socket.setblocking(False)
            try:
                while True:
                    client.socket.send(request * 100)
            except (BlockingIOError, ssl.SSLWantWriteError,
                    ssl.SSLWantReadError):
                pass
        for other in KINDS:
            place.check_answers(other)
        for client in clients:
            client.socket.close()
            line, = place.wait_end()
            assert line.split()[2] in ("ECONNRESET", "EPIPE"), line


@pytest.mark.parametrize("kind", KINDS)
def test_replies_beyond_the_backlog(place, kind):
    with Client(place, kind) as client:
        client.send(b'{"id":1,"method":"fill","params":[2000000]}')
        client.receive_all()
        place.expect(client, "EMSGSIZE")


@pytest.mark.parametrize("kind", KINDS)
def test_half_closed(place, kind):
    """Who ends its half still gets the replies to what it sent before."""
    n = 20
    with Client(place, kind) as client:
        client.send(ECHO * n)
        if kind == "ssl":
            # Python waits for the other half as soon as it ends its own.
            for _ in range(n):
                client.send(b"")
            data = b""
            while data.count(b"hello") < n:
                data += client.socket.recv(65536)
            client.socket.unwrap()
        else:
            client.socket.shutdown(socket.SHUT_WR)
            data = client.receive_all()
        assert data.count(b'"result":["hello"]') == n
        place.expect(client, "0")


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_floods_of_connections(place, kind):
    """Beyond the limit they are closed, with a line each."""
    n = 3 * MAX_CONNECTIONS
    clients = [Client(place, kind) for _ in range(n)]
    lines = place.wait_end(n - MAX_CONNECTIONS)
    assert all(line.startswith("refused ") for line in lines)
    for client in clients[:MAX_CONNECTIONS]:
        client.send(ECHO)
        assert client.receive() == REPLY
    for client in clients[MAX_CONNECTIONS:]:
        assert client.receive_all() == b""
    for client in clients:
        client.socket.close()
    ended = collections.Counter(place.wait_end(MAX_CONNECTIONS))
    if kind == "tcp":
        assert set(ended.values()) == {1}


def test_floods_beyond_the_descriptors(tmp_path):
    """A server without a descriptor left waits; it does not spin, and
    serves whom it can as soon as it can."""
    path = tmp_path / "serve.sock"
    server = Server([f"punix:{path}"], ["--max-connections", "1000"],
                    limit=40)
    n_fds = server.n_fds()
    clients = []
    for _ in range(80):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(SOON_S)
        client.connect(str(path))
        clients.append(client)
    server.wait_line(lambda line: line == "paused EMFILE")
    for client in clients:
        client.sendall(ECHO)
        assert json.loads(client.recv(4096)) == REPLY
        client.close()
    wait_until(lambda: server.n_fds() == n_fds, what="descriptors closed")
    wait_until(lambda: sum(line.startswith("closed ")
                           for line in server.lines) == 80, what="80 lines")
    assert server.stop() == 0


# TLS.

def record_handshake(place):
    """The bytes that a client sends in a good handshake."""
    sent = b""
    with Client(place, "ssl", handshakes=False) as client:
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = place.context("client").wrap_bio(into, out)
        while True:
            try:
                tls.do_handshake()
                is_done = True
            except ssl.SSLWantReadError:
                is_done = False
            piece = out.read()
            sent += piece
            client.socket.sendall(piece)
            if is_done:
                break
            into.write(client.socket.recv(65536))
    place.expect(client, "ECONNRESET")
    return sent


def cut_handshake(place, n):
    """Takes part in a handshake up to the n-th byte sent, and closes."""
    with Client(place, "ssl", handshakes=False) as client:
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = place.context("client").wrap_bio(into, out)
        while n:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            piece = out.read()[:n]
            n -= len(piece)
            client.socket.sendall(piece)
            if not n or not piece:
                break
            into.write(client.socket.recv(65536))
    return client


def test_handshakes_closed_anywhere(place):
    whole = len(record_handshake(place))
    for n in range(0, whole, 7):
        # Of the last bytes the handshake may do without.
        place.expect(cut_handshake(place, n), "ECONNRESET",
                     "the peer closed the connection")
    print(f"a handshake of {whole} bytes, cut at every 7th")


def test_handshakes_replayed(place):
    """The bytes of a good handshake, of no use in another one."""
    recorded = record_handshake(place)
    for n in range(1, len(recorded) + 1, 31):
        with Client(place, "ssl", handshakes=False) as client:
            client.send(recorded[:n])
            client.end()
            client.receive_all()
        place.expect(client, ("ECONNRESET", "EPROTO", "EKEYREJECTED"))


def test_handshakes_altered(place):
    recorded = bytearray(record_handshake(place))
    for i in range(0, 300, 17):
        altered = bytearray(recorded)
        altered[i] ^= 0x55
        with Client(place, "ssl", handshakes=False) as client:
            client.send(bytes(altered))
            client.end()
            client.receive_all()
        place.expect(client, ("ECONNRESET", "EPROTO", "EKEYREJECTED"))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_versions_of_tls(place):
    context = place.context("client")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    place.expect(fail_handshake(place, context), "EPROTO", "version of TLS")


def fail_handshake(place, context):
    with socket.create_connection(
            ("127.0.0.1", place.server.port("pssl")), timeout=60) as plain:
        name = f"ssl:127.0.0.1:{plain.getsockname()[1]}"
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            with context.wrap_socket(plain) as connection:
                connection.sendall(ECHO)
                assert connection.recv(4096)
    return collections.namedtuple("Ended", "name")(name)


def test_wrong_tls_clients(place):
    place.expect(fail_handshake(place, place.context(None)), "EKEYREJECTED",
                 "the peer shows no certificate")
    place.expect(fail_handshake(place, place.context("stranger")),
                 "EKEYREJECTED", "it is signed by itself")
    # One who does not know the server's authority.
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    other.check_hostname = False
    other.load_verify_locations(place.folder / "stranger-cert.pem")
    place.expect(fail_handshake(place, other), "EKEYREJECTED",
                 "unknown to it")


def test_plain_text_to_the_tls_port(place):
    for data, text in ((ECHO, "does not speak TLS"),
                       (b"GET / HTTP/1.0\r\n\r\n", "but HTTP")):
        with Client(place, "ssl", handshakes=False) as client:
            client.send(data)
            client.receive_all()
            place.expect(client, "EPROTO", text)


def test_tls_to_the_plain_port(place):
    with Client(place, "tcp") as client:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            place.context("client").wrap_socket(client.socket)
        place.expect(client, "EPROTO")


def test_silent_tls_clients(place):
    """Each is given up in its time, while the others are served."""
    start = time.monotonic()
    clients = [Client(place, "ssl", handshakes=False) for _ in range(5)]
    clients[0].send(b"\x16")
    clients[1].send(b"\x16\x03\x01\x02\x00\x01")
    place.check_answers("ssl")
    lines = place.wait_end(5)
    assert time.monotonic() - start > CONNECT_MS / 1000 - 0.1
    for line in lines:
        assert f"ETIMEDOUT {line.split()[1]}: no TLS handshake within " in line
    for client in clients:
        assert client.receive_all() == b""
        client.socket.close()
