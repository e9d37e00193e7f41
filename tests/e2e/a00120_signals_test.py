"""Signals, to the keeper (as a user sends them) and to the master."""
import signal
import socket

import pytest

from lib import paths
from lib.load import Load
from lib.process import SOON_S, wait_until


def web(port, workers=2, **more):
    return {"services": {"web": dict({
        "command": paths.EXAMPLES["c"], "workers": workers,
        "ready": "notify", "listen": f"127.0.0.1:{port}"}, **more)}}


@pytest.fixture(params=["keeper", "master"])
def running(request, reeve, port):
    made = reeve(web(port))
    made.start()

    def send(name):
        pid = (made.keeper_pid() if request.param == "keeper"
               else made.master_pid())
        made.kill(pid, getattr(signal, "SIG" + name))
    made.send = send
    made.port = port
    return made


def is_at(generation):
    def predicate(now):
        service = now["services"][0]
        return (service["generation"] == generation
                and len(service["workers"]) == service["wanted"]
                and all(w["state"] == "ready" for w in service["workers"]))
    return predicate


def test_hup_reloads(running):
    with Load(running.port, connections=4, think_ms=2) as load:
        running.send("HUP")
        running.wait_for_status(is_at(2))
        load.more(20)
    load.assert_nothing_lost()


def test_hup_with_a_broken_file_changes_nothing(running):
    before = running.pids()
    running.config_path.write_text("services: {web: [}", encoding="utf-8")
    running.send("HUP")
    running.wait_output("nothing changed")
    assert f"{running.config_path}:1:" in running.output()
    assert running.pids() == before


def test_term_is_graceful_then_fast(running):
    with socket.create_connection(("127.0.0.1", running.port),
                                  SOON_S) as client:
        client.sendall(b"GET /slow?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n")
        running.send("TERM")
        running.wait_for_status(lambda now: now["state"] == "stopping")
        # At once it would be an echo of the first (Ctrl-C goes to a group).
        running.ctl("time/warp", "2000")
        running.send("TERM")
        # TERM does not end the example, which waits for its client; the
        # escalation does.
        assert running.process.wait(SOON_S) == 0


def test_term_has_a_deadline(reeve, port):
    config = web(port)
    config["stop_timeout"] = "200ms"
    made = reeve(config)
    made.start()
    with socket.create_connection(("127.0.0.1", port), SOON_S) as client:
        client.sendall(b"GET /slow?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n")
        made.kill(made.keeper_pid(), signal.SIGTERM)
        assert made.process.wait(SOON_S) == 0


def test_nginx_signals(reeve, port):
    config = web(port)
    config["signals"] = "nginx"
    made = reeve(config)
    made.start()
    with socket.create_connection(("127.0.0.1", port), SOON_S) as client:
        client.sendall(b"GET /slow?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n")
        made.kill(made.keeper_pid(), signal.SIGTERM)
        assert made.process.wait(SOON_S) == 0


def test_quit_finishes_every_connection(running):
    with socket.create_connection(("127.0.0.1", running.port),
                                  SOON_S) as client:
        client.sendall(b"GET /slow?ms=500 HTTP/1.1\r\nHost: x\r\n\r\n")
        with Load(running.port, connections=2) as load:
            load.more(10)
        running.send("QUIT")
        answer = b""
        while data := client.recv(4096):
            answer += data
    assert b"200 OK" in answer
    assert running.process.wait(SOON_S) == 0


def test_winch_drains_and_hup_starts_again(running):
    before = running.pids()
    running.send("WINCH")
    now = running.wait_for_status(
        lambda now: not now["services"][0]["workers"])
    assert now["state"] == "paused"
    # The socket stays: who comes now waits.
    with socket.create_connection(("127.0.0.1", running.port),
                                  SOON_S) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        running.send("HUP")
        assert b"200 OK" in client.recv(4096)
    running.wait_for_status(
        lambda now: len(now["services"][0]["workers"]) == 2)
    assert not set(before) & set(running.pids())


def test_ttin_ttou(running):
    first = running.pids()
    running.send("TTIN")
    running.wait_for_status(lambda now: now["services"][0]["ready"] == 3)
    assert set(first) < set(running.pids())
    running.send("TTOU")
    running.wait_for_status(
        lambda now: len(now["services"][0]["workers"]) == 2)
    running.send("TTOU")
    running.wait_for_status(
        lambda now: len(now["services"][0]["workers"]) == 1)
    running.send("TTOU")  # Never to none.
    # Of two signals that wait, the kernel hands out the lower number first.
    running.wait_output("keeps its last worker")
    running.send("TTIN")
    running.wait_for_status(
        lambda now: len(now["services"][0]["workers"]) == 2)
    assert first[0] in running.pids()


def test_usr2_is_refused_and_said(running):
    before = running.pids()
    running.send("USR2")
    running.wait_output("cannot upgrade")
    assert running.pids() == before


def test_usr1_reopens(reeve, port, tmp_path):
    config = web(port)
    config["log"] = {"file": str(tmp_path / "reeve.log")}
    made = reeve(config)
    made.start()
    for pid in (made.keeper_pid(), made.master_pid()):
        (tmp_path / "reeve.log").rename(tmp_path / f"{pid}.log")
        made.kill(pid, signal.SIGUSR1)
        wait_until((tmp_path / "reeve.log").exists)
