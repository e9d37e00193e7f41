"""Sessions whose remotes cannot be reached, or misbehave: one line each, and
the session goes on."""
import socket
import subprocess
import threading

import pytest

from lib import paths
from lib.process import SOON_S, free_port, wait_until

PROGRAM = paths.BUILD / "tests" / "programs" / "reeve-test"

pytestmark = pytest.mark.skipif(not PROGRAM.exists(),
                                reason=f"{PROGRAM} is not built")


class Session:
    """reeve-test test-session, and what it says."""

    def __init__(self, *words, before=()):
        self.lines = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [*before, str(PROGRAM), "test-session", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(SOON_S)
        self.reader.join()
        self.process.stdout.close()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()

    def wait(self, word, n=1, timeout=60):
        """The first `n` lines that start with `word`."""
        def find():
            found = [line for line in self.lines if line.startswith(word)]
            return found if len(found) >= n else None
        with self.changed:
            assert self.changed.wait_for(find, timeout), self.lines
            return find()

    def send(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


def failure(*words, before=()):
    """How a session that tries once ends."""
    with Session("--gives-up", *words, before=before) as session:
        line, = session.wait("failed ")
        ended, = session.wait("ended ")
        assert ended.split()[1] == line.split()[1]
    return line


def test_names_that_do_not_resolve():
    line = failure("tcp:no-such-host.invalid:1")
    assert line.split()[1] in ("ENOENT", "EHOSTUNREACH"), line
    assert 'cannot resolve "no-such-host.invalid"' in line


def test_refused(tmp_path):
    name = f"tcp:127.0.0.1:{free_port()}"
    assert failure(name) == f"failed ECONNREFUSED {name}: Connection refused"
    line = failure(f"unix:{tmp_path}/missing")
    assert line.startswith("failed ENOENT ") and "missing" in line
    plain = tmp_path / "plain"
    plain.write_text("")
    line = failure(f"unix:{plain}")
    assert line.startswith("failed ECONNREFUSED ") and "plain" in line


def test_unreachable():
    """In a network that has no way to anywhere."""
    before = ("unshare", "--user", "--map-root-user", "--net")
    if subprocess.run([*before, "true"], capture_output=True,
                      check=False).returncode:
        pytest.skip("no network namespaces here")
    line = failure("tcp:192.0.2.1:1", before=before)
    assert line.startswith("failed ENETUNREACH "), line
    assert "tcp:192.0.2.1:1" in line
    line = failure("tcp:[2001:db8::1]:1", before=before)
    assert line.split()[1] in ("ENETUNREACH", "EADDRNOTAVAIL"), line


def test_addresses_in_use(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        line = failure(f"ptcp:{port}:127.0.0.1")
    assert line.startswith("failed EADDRINUSE "), line
    assert f"ptcp:{port}:127.0.0.1" in line
    line = failure(f"punix:{tmp_path}/no/folder")
    assert line.startswith("failed ENOENT "), line


def test_silent_remotes_are_given_up():
    """One that takes the connection and never answers the TLS handshake."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        line = failure("--connect-timeout", "300", "--ca-cert", "none",
                       f"ssl:127.0.0.1:{silent.getsockname()[1]}")
    assert line.startswith("failed ETIMEDOUT "), line


BAD_SERVERS = {
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "EPROTO"),
    "half a message": (b'{"id":1,', "ECONNRESET"),
    "version 2.0": (b'{"jsonrpc":"2.0","id":1,"result":1}', "EPROTO"),
    "not UTF-8": (b'{"id":1,"result":"\xff","error":null}', "EPROTO"),
    "deep": (b"[" * 5000, "E2BIG"),
    "nothing": (b"", "0"),
}


@pytest.mark.parametrize("what", BAD_SERVERS)
def test_bad_servers(what):
    """The connection ends with one line, the calls on it are told, and the
    session comes back for more."""
    data, code = BAD_SERVERS[what]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(SOON_S)
        name = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        with Session("--first-backoff", "10", name) as session:
            connection, _ = listener.accept()
            session.wait("connected ")
            session.send("call list_dbs")
            session.wait("sent ")
            assert connection.recv(4096)
            connection.sendall(data)
            connection.close()
            lost, = session.wait("lost ")
            line, = session.wait("disconnected ")
            assert line.split()[2] == code, line
            again, _ = listener.accept()
            session.wait("connected ", 2)
            again.close()


def test_replies_nobody_asked_for():
    """They come to nothing; the call under way gets its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(SOON_S)
        name = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        with Session(name) as session:
            connection, _ = listener.accept()
            session.wait("connected ")
            session.send("call m")
            ident = session.wait("sent ")[0].split()[1]
            connection.sendall(b'{"id":"other","result":1,"error":null}'
                               b'{"id":98765,"error":"no"}'
                               b'{"id":%d.5,"result":1,"error":null}'
                               b'{"id":%d,"result":"mine","error":null}'
                               % (int(ident), int(ident)))
            assert session.wait(f"reply {ident} ") == [f'reply {ident} "mine"']
            connection.close()


def test_bad_peers_of_a_listening_session():
    """Each gets one line, and the next one is served."""
    port = free_port()

    def connect():
        try:
            return socket.create_connection(("127.0.0.1", port), SOON_S)
        except ConnectionRefusedError:
            return None

    with Session(f"ptcp:{port}:127.0.0.1") as session:
        bad = (b"}", b"GET / HTTP/1.0\r\n\r\n", b'{"jsonrpc":"2.0","id":1}')
        for i, data in enumerate(bad, 1):
            with wait_until(connect, what="listening") as peer:
                peer.sendall(data)
                session.wait("disconnected ", i)
        assert all(line.split()[2] == "EPROTO"
                   for line in session.wait("disconnected ", 3))
        with socket.create_connection(("127.0.0.1", port), SOON_S) as peer:
            peer.sendall(b'{"id":"echo","method":"echo","params":[]}')
            assert peer.recv(4096) == \
                b'{"id":"echo","result":[],"error":null}'
