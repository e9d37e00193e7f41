"""Clients of the control socket that misbehave, and commands against servers
that do: every one is bounded, told, or dropped, and nobody else notices."""
import json
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from lib import paths
from lib.control import Control, ControlError
from lib.load import Load
from lib.process import is_running, status_fields, wait_until


@pytest.fixture
def made(reeve, port):
    """A service with 2 workers under load, whose master does not change."""
    made = reeve({"services": {"web": {
        "command": paths.EXAMPLES["c"], "workers": 2, "ready": "notify",
        "listen": f"127.0.0.1:{port}"}}}).start()
    now = made.status()
    pids, master = made.pids(), now["master"]["pid"]
    with Load(port, connections=4) as load:
        yield made
        load.more(50)
    load.assert_nothing_lost()
    if not getattr(made, "is_rolled", False):
        assert made.pids() == pids
    assert made.master_pid() == master
    high = int(status_fields(master)["VmHWM"].split()[0])
    print(f"memory of the master: at most {high} kB")
    assert made.stop() == 0


def is_sanitized():
    """A sanitizer's memory is not the master's own."""
    return b"__asan_init" in paths.REEVE.read_bytes()


def answers_ms(made, n=20):
    times = []
    for _ in range(n):
        start = time.monotonic()
        with made.control() as control:
            control.call("version")
        times.append((time.monotonic() - start) * 1000)
    times.sort()
    return times


def assert_answers(made, what):
    times = answers_ms(made)
    print(f"{what}: others answered in {times[len(times) // 2]:.2f} ms, at "
          f"most {times[-1]:.2f} ms")
    # No measurement: a hung server would answer none.
    assert times[len(times) // 2] < 1000 and times[-1] < 10000, times


def high_water_kb(made):
    return int(status_fields(made.status()["master"]["pid"])["VmHWM"]
               .split()[0])


def wait_closed(connection, timeout=60):
    """Whatever comes until the server closes."""
    connection.settimeout(timeout)
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except (ConnectionResetError, BrokenPipeError):
        pass
    return data


def connect(made):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(made.control_path()))
    return connection


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"\xff\xfe\xfd",
    b"hello\n", b"]", b"[1,2,3]", b"{}", b'"text"', b"{]",
    b'{"id":1}', b'{"id":1,"method":5,"params":[]}',
    b'{"id":1,"method":"status","params":{}}',
    b'{"id":1,"result":"x","error":null}', b"[" * 10000, b'{"a":' * 10000,
    b'{"id":1,"method":"status","params":["\xff\xfe"]}',
    b'{"id":1,"method":"sta\\u0000tus","params":[]}',
]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage(reeve, data):
    made = reeve({"services": {"web": {"command": "sleep 600",
                                       "ready_after": "1ms"}}}).start()
    with connect(made) as connection:
        connection.sendall(data)
        wait_closed(connection)
    with connect(made) as connection, made.control() as other:
        connection.sendall(data)
        assert other.call("version")
    assert made.stop() == 0


def test_calls_that_are_wrong_but_well_formed(made):
    with made.control() as control:
        for method, params in [
                ("no-such", []), ("status", ["a", "b", "c"]), ("scale", []),
                ("scale", ["web", "many"]), ("scale", ["web", "-1"]),
                ("scale", ["web", "99999999999999999999"]),
                ("scale", ["no-such", "1"]), ("reload", ["no-such"]),
                ("restart", ["no-such"]), ("stop", ["web"]),
                ("stop", ["--never"]), ("vlog/set", ["no-such:dbg"]),
                ("logs", ["-5"]), ("logs", ["soon"]), ("reload", ["--x"]),
                ("x" * 100000, []), ("", []), ("status", ["x" * 100000])]:
            with pytest.raises(ControlError) as error:
                control.call(method, *params)
            assert str(error.value).endswith("\n"), error.value
        assert control.call("version")
    # Parameters that are no text: Open vSwitch's words.
    with connect(made) as connection:
        connection.sendall(b'{"id":7,"method":"status","params":[5]}')
        reply = json.loads(connection.recv(65536))
        assert reply["id"] == 7 and "non-string" in reply["error"]


def test_half_a_message_and_one_byte_at_a_time(made):
    message = json.dumps({"id": 3, "method": "version",
                          "params": []}).encode()
    with connect(made) as half, connect(made) as slow, connect(made) as gone:
        half.sendall(message[:20])
        gone.sendall(message[:20])
        gone.close()
        for byte in message:
            slow.sendall(bytes([byte]))
        assert b"reeve" in slow.recv(4096)
        assert_answers(made, "half a message")
        half.sendall(message[20:])
        assert b"reeve" in half.recv(4096)


def test_a_hundred_megabytes(made):
    before = high_water_kb(made)
    block = b"x" * (1 << 20)
    for start in (b'{"id":1,"method":"status","params":["', b'"', b"[", b" "):
        with connect(made) as connection:
            n = 0
            connection.settimeout(20)
            try:
                connection.sendall(start)
                for _ in range(100):
                    connection.sendall(block if start != b" "
                                       else b" " * len(block))
                    n += 1
                if start == b" ":  # White space between messages is nothing.
                    connection.sendall(b'{"id":1,"method":"version",'
                                       b'"params":[]}')
                    assert b"reeve" in connection.recv(4096)
                else:
                    assert False, "100 MB were taken"
            except (BrokenPipeError, ConnectionResetError):
                assert start != b" " and n <= 3, n
    assert_answers(made, "100 MB")
    after = high_water_kb(made)
    print(f"memory of the master: {before} kB before, at most {after} kB")
    assert after < before + 16 * 1024 or is_sanitized()


def test_a_thousand_connections(made):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 3000:
        if hard < 3000:
            pytest.skip("too few descriptors for 1,000 connections")
        resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
    held = []
    try:
        for i in range(1000):
            connection = connect(made)
            held.append(connection)
            if i % 3 == 0:
                try:
                    connection.sendall(b'{"id":')
                except BrokenPipeError:
                    pass  # It was one too many.
        assert_answers(made, "1,000 connections held")
        master = made.master_pid()
        n = len(os.listdir(f"/proc/{master}/fd"))
        assert n < 120, n
    finally:
        for connection in held:
            connection.close()
    assert_answers(made, "after 1,000 connections")
    said = made.output().count("connection")
    assert said < 200, said


def test_replies_that_nobody_reads(reeve, port):
    config = {"services": {"web": {
        "command": paths.EXAMPLES["c"], "workers": 2, "ready": "notify",
        "listen": f"127.0.0.1:{port}",
        "environment": {f"VARIABLE_{i}": "x" * 1000 for i in range(200)}}}}
    made = reeve(config).start()
    before = high_water_kb(made)
    size = len(made.ctl("dump"))
    assert size > 200000
    held = []
    with Load(port, connections=4) as load:
        for _ in range(40):
            connection = connect(made)
            connection.setblocking(False)
            held.append(connection)
            try:
                for i in range(2000):
                    connection.send(json.dumps(
                        {"id": i, "method": "dump", "params": []}).encode())
            except BlockingIOError:
                pass
        assert_answers(made, "40 clients that read nothing")
        after = high_water_kb(made)
        print(f"replies of {size} bytes that 40 clients do not read: memory "
              f"of the master {before} kB before, at most {after} kB")
        # One reply a connection, not one a request.
        assert (after - before < 40 * (size * 2 / 1024) + 8192
                or is_sanitized())
        # One of them begins to read: it gets its replies, whole.
        held[0].settimeout(10)
        with held[0].makefile("rb") as file:
            text = b""
            while b'"id":1' not in text.replace(b" ", b""):
                text += file.read1(65536)
        assert_answers(made, "one that reads again")
    load.assert_nothing_lost()
    for connection in held:
        connection.close()
    assert made.stop() == 0


def test_clients_that_leave_while_it_works(made):
    for method in ("reload", "restart", "scale"):
        params = ["web", "2"] if method == "scale" else []
        for _ in range(3):
            with connect(made) as connection:
                connection.sendall(json.dumps(
                    {"id": 1, "method": method, "params": params}).encode())
    made.wait_ready()
    made.cli("reload", check=True)
    made.is_rolled = True


def test_only_the_owner_and_root(made):
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv to become another user")
    path = made.control_path()
    assert path.stat().st_mode & 0o777 == 0o600
    # Even with a mode and folders that would let anybody in.
    folder = Path(tempfile.mkdtemp(prefix="reeve-test-"))
    folder.chmod(0o755)
    for open_to_all in path.parents:
        if open_to_all == Path("/tmp"):
            break
        open_to_all.chmod(0o755)
    try:
        other = ["setpriv", "--reuid", "65534", "--regid", "65534",
                 "--clear-groups"]
        code = ("import socket, sys\n"
                "s = socket.socket(socket.AF_UNIX)\n"
                "s.settimeout(10)\n"
                "s.connect(sys.argv[1])\n"
                "s.sendall(b'{\"id\":1,\"method\":\"version\","
                "\"params\":[]}')\n"
                "print(s.recv(100))\n")

        def attempt():
            return subprocess.run(
                [*other, "/usr/bin/python3", "-c", code, str(path)],
                capture_output=True, text=True, cwd="/", check=False)
        assert "PermissionError" in attempt().stderr
        path.chmod(0o666)
        done = attempt()
        assert "reeve" not in done.stdout, done
        assert done.stdout == "b''\n" or "Error" in done.stderr, done
        made.wait_output("refused")
        path.chmod(0o600)
        if all(os.stat(p).st_mode & 0o001 for p in paths.REEVE.parents):
            done = subprocess.run(
                [*other, str(paths.REEVE), "status", "-t", str(path)],
                capture_output=True, text=True, cwd="/", check=False)
            assert done.returncode == 1
            assert "Permission denied" in done.stderr
    finally:
        folder.rmdir()


class FakeServer:
    """A control socket whose server does `serve(connection)`."""

    def __init__(self, path, serve):
        self.held = []
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()
        self.serve = serve
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection = self.server.accept()[0]
            except OSError:
                return
            self.held.append(connection)
            try:
                self.serve(connection)
            except OSError:
                pass

    def close(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for connection in self.held:
            connection.close()


def endless_reply(connection):
    connection.sendall(b'{"id":0,"error":null,"result":"')
    while True:
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize("serve,parts", [
    (lambda connection: None, ["no answer"]),
    (lambda connection: connection.close(), ["ended", "reset", "closed"]),
    (lambda connection: connection.sendall(b"nonsense\n"), [""]),
    (lambda connection: connection.sendall(b'{"id":0,"result":'), ["answer"]),
    (endless_reply, [""]),
], ids=["silent", "closes", "nonsense", "half", "endless"])
@pytest.mark.parametrize("verb", [
    ("status",), ("reload",), ("stop",), ("dump",), ("ctl", "version"),
    ("logs",)], ids=lambda verb: verb[0])
def test_commands_against_a_server_that_is_not_well(reeve, verb, serve,
                                                    parts):
    made = reeve()
    path = made.runtime_dir / "fake.ctl"
    fake = FakeServer(path, serve)
    try:
        start = time.monotonic()
        done = made.cli(verb[0], "-t", path, "-T", "1", *verb[1:],
                        target=False, timeout=60)
        took = time.monotonic() - start
    finally:
        fake.close()
    said = done.stdout + done.stderr
    assert done.returncode in (1, 3), said
    assert took < 20, took  # Without -T it would be 30 s.
    assert said.startswith("reeve: ") and len(said) < 1000, said[:1000]
    assert any(part in said for part in parts), said


def test_commands_without_a_server(reeve):
    made = reeve()
    for arguments in (("-t", "nobody"), ("-t", str(made.folder / "no.ctl")),
                      ()):
        for verb in ("status", "reload", "stop", "dump", "logs", "reopen"):
            done = made.cli(verb, *arguments, target=False)
            assert done.returncode == 3, (verb, arguments, done.stderr)
            assert done.stderr.startswith("reeve: "), done.stderr
    # A socket file that nobody listens on, and a file that is no socket.
    path = made.runtime_dir / "dead.ctl"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    done = made.cli("status", "-t", path, target=False)
    assert done.returncode == 3 and "refused" in done.stderr, done.stderr
    path.unlink()
    path.write_text("text")
    done = made.cli("status", "-t", path, target=False)
    assert done.returncode == 3, done.stderr


def test_a_stopped_master_times_out(made):
    master = made.master_pid()
    os.kill(master, 19)  # SIGSTOP
    try:
        start = time.monotonic()
        done = made.cli("status", "-T", "1")
        assert done.returncode == 1 and "no answer" in done.stderr
        assert time.monotonic() - start < 20
    finally:
        os.kill(master, 18)  # SIGCONT
    assert is_running(master)
    wait_until(made.status)
    assert Control(made.control_path()).call("version")
