"""The harness itself: what the other tests rely on when they say "none lost"
or "nothing left behind".  Needs the examples and the load client only."""
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from lib import paths
from lib.control import Control, ControlError
from lib.load import Load
from lib.process import (SOON_S, children, free_port, is_running, marked,
                         wait_gone, wait_until)
from lib.reeve import Reeve


class Worker:
    """One example process on an inherited socket, without a manager."""

    def __init__(self, command, listener, folder, generation=1):
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = str(folder / f"notify.{generation}")
        self.notify.bind(path)
        self.notify.settimeout(60)
        # The shell gives LISTEN_PID, as only the process knows its pid.
        self.process = subprocess.Popen(
            ["sh", "-c", 'LISTEN_PID=$$ exec "$@" 3<&0', "sh", *command],
            stdin=listener, env=dict(
                os.environ, LISTEN_FDS="1", NOTIFY_SOCKET=path,
                REEVE_WORKER="0", REEVE_GENERATION=str(generation)))

    def wait_ready(self):
        while b"READY=1" not in self.notify.recv(4096):
            pass

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SOON_S)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.notify.close()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=511) as made:
        made.setblocking(False)
        yield made


@pytest.fixture
def start(listener, tmp_path):
    made = []

    def make(command, generation=1):
        worker = Worker(command, listener, tmp_path, generation)
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.close()


def needs_notify(name):
    if name == "node" and not any(
            os.access(os.path.join(folder, "systemd-notify"), os.X_OK)
            for folder in os.environ["PATH"].split(":")):
        pytest.skip("no systemd-notify, and Node cannot send READY=1 itself")


@pytest.mark.parametrize("keep_alive", [False, True])
def test_example_drains_without_loss(example, listener, start, keep_alive):
    name, command = example
    needs_notify(name)
    port = listener.getsockname()[1]
    old = start(command)
    old.wait_ready()
    with Load(port, keep_alive=keep_alive, connections=8,
              think_ms=2) as load:
        for generation in range(2, 5):
            load.more(50)
            new = start(command, generation)
            new.wait_ready()
            assert old.stop() == 0
            old = new
        load.wait_for(lambda now: any(w["generation"] == "4"
                                      for w in now["workers"]))
    load.assert_nothing_lost(at_least=150)
    assert load.last_ms(1) < load.last_ms(4)
    assert load.result["told_close"] == (24 if keep_alive else 0)


def test_example_finishes_slow_request(example, listener, start):
    name, command = example
    needs_notify(name)
    worker = start(command)
    worker.wait_ready()
    with socket.create_connection(listener.getsockname(), SOON_S) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
                       b"GET /slow?ms=1500 HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.recv(4096)
        assert b"200" in answer
        # Both were sent at once, so the slow one is in progress.
        worker.process.send_signal(signal.SIGTERM)
        while True:
            data = client.recv(4096)
            if not data:
                break
            answer += data
    assert worker.process.wait(SOON_S) == 0
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"pid=" in answer
    assert answer.lower().count(b"connection: close") == 1


def test_example_ends_idle_connection(example, listener, start, monkeypatch):
    name, command = example
    needs_notify(name)
    monkeypatch.setenv("DRAIN_IDLE_MS", "100")
    worker = start(command)
    worker.wait_ready()
    with socket.create_connection(listener.getsockname(), SOON_S) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"ok" in client.recv(4096)
        worker.process.send_signal(signal.SIGTERM)
        assert client.recv(4096) == b""
    assert worker.process.wait(SOON_S) == 0


def serve_once(answers):
    """A server for one connection a string: reads, then sends it."""
    made = socket.create_server(("127.0.0.1", 0))

    def run():
        for answer in answers:
            with made.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(answer)
        made.close()

    threading.Thread(target=run, daemon=True).start()
    return made.getsockname()[1]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npid=123"


@pytest.mark.parametrize("answer,kind", [
    (b"", "eof_fresh"),
    (OK[:-1], "short"),
    (OK.replace(b"200 OK", b"500 No"), "wrong"),
])
def test_load_counts_loss(answer, kind):
    port = serve_once([OK, answer, OK])
    with Load(port, connections=1) as load:
        load.wait_for(lambda now: now["ok"] >= 1 and now[kind] >= 1)
    assert load.result[kind] == 1, load.result
    assert load.result["workers"][0]["pid"] == "123"
    with pytest.raises(AssertionError):
        load.assert_nothing_lost()


def test_load_counts_refused_and_eof_reused():
    # One keep-alive answer, then the server closes after the next request
    # has arrived; then nobody listens.
    made = socket.create_server(("127.0.0.1", 0))

    def run():
        with made.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(OK)
            connection.recv(4096)
            made.close()

    threading.Thread(target=run, daemon=True).start()
    with Load(made.getsockname()[1], connections=1, keep_alive=True) as load:
        load.wait_for(lambda now: now["refused"] > 0)
    assert load.result["ok"] == 1
    assert load.result["eof_reused"] == 1


def test_wait_until_gives_up_when_the_process_ends():
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(AssertionError, match="ended with 3"):
        wait_until(lambda: False, what="never", process=process)
    with pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: False, 0.05)


def test_wait_until_looks_once_more_when_the_process_has_ended():
    """What it did last may be what is waited for."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    looks = []

    def look():
        process.stdin.close()
        looks.append(process.wait(SOON_S))
        return len(looks) > 1
    assert wait_until(look, process=process)


def test_signals_reach_ours_and_no_others(tmp_path):
    made = Reeve(tmp_path, {"services": {}})
    # It does nothing but execute itself, and has no environment meanwhile.
    command = 'exec sh -c "$0" "$0"'
    process = subprocess.Popen(["sh", "-c", command, command],
                               env=made.environment)
    try:
        for _ in range(500):
            made.kill(process.pid, 0)
        with pytest.raises(AssertionError, match="is not ours"):
            made.kill(os.getpid(), 0)
        made.kill(process.pid, signal.SIGSTOP)
        made.kill(process.pid)
        wait_gone(process.pid)  # It stays a zombie.
        with pytest.raises(AssertionError, match="has ended"):
            made.kill(process.pid)
        made.kill(process.pid, missing_ok=True)
    finally:
        process.kill()
        process.wait()
    made.close()


def test_free_ports_differ():
    ports = {free_port() for _ in range(20)}
    assert len(ports) == 20


def test_leftovers_are_found(tmp_path):
    made = Reeve(tmp_path, {"services": {}})
    made.LEAVE_S = 0.1
    left = subprocess.Popen(
        ["sleep", "60"], env=dict(os.environ,
                                  REEVE_E2E=made.marker.split("=")[1]))
    assert left.pid in children(os.getpid())
    made.process = subprocess.Popen(["true"])  # As if it had ended.
    made.process.wait()
    with pytest.raises(AssertionError, match="left behind"):
        made.close()
    assert left.wait(SOON_S) == -signal.SIGKILL
    assert not is_running(left.pid)
    wait_gone(left.pid)
    assert marked(made.marker) == {}


def test_control_client(tmp_path):
    path = tmp_path / "x.ctl"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def run():
        connection = server.accept()[0]
        for answer in ({"result": "1.0\n", "error": None},
                       {"result": None, "error": "no such method"}):
            call = json.loads(connection.recv(4096))
            text = json.dumps(dict(answer, id=call["id"])) + "\n"
            for byte in text.encode():  # In pieces, as a stream may.
                connection.send(bytes([byte]))
        connection.close()

    threading.Thread(target=run, daemon=True).start()
    with Control(path) as control:
        assert control.call("version") == "1.0\n"
        with pytest.raises(ControlError, match="no such method"):
            control.call("nonsense", "a")
        with pytest.raises((ControlError, OSError)):
            control.call("version")
    server.close()


def test_reeve_starts_and_stops(reeve, port):
    made = reeve({"services": {"web": {
        "command": paths.EXAMPLES["c"], "workers": 2, "ready": "notify",
        "listen": f"127.0.0.1:{port}"}}})
    made.start()
    assert len(made.pids()) == 2
    assert made.ctl("version")
    with Load(port, connections=4) as load:
        pass
    load.assert_nothing_lost()
    assert made.stop() == 0
