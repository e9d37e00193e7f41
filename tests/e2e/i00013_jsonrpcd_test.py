"""examples/jsonrpcd, a program of libreeve, with the clients of Open
vSwitch."""
import os
import shutil
import signal
import socket
import subprocess

import pytest

from lib import paths
from lib.process import free_port, wait_gone, wait_until

PROGRAM = paths.BUILD / "examples" / "jsonrpcd"

CLIENT = """
import sys, ovs.stream, ovs.jsonrpc
Message = ovs.jsonrpc.Message
error, stream = ovs.stream.Stream.open_block(
    ovs.stream.Stream.open(sys.argv[1]))
assert not error, error
rpc = ovs.jsonrpc.Connection(stream)
def ask(method, *params):
    error, reply = rpc.transact_block(Message.create_request(method, params))
    assert not error, (method, error)
    return reply.error if reply.type == Message.T_ERROR else reply.result
assert ask("echo", "x", None, {"y": 1.5}) == ["x", None, {"y": 1.5}]
assert ask("add", 40, 2) == 42
assert ask("params", [], {}) == [[], {}]
assert ask("calls") == 3
assert ask("no-such") == "no such request"
assert ask("add", "40", 2) == "no such request"
assert ask("calls") == 6
rpc.send_block(Message.create_notify("whatever", []))
assert ask("calls") == 7
"""


@pytest.fixture(autouse=True)
def is_built():
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not built")


def environment(folder):
    clean = {name: value for name, value in os.environ.items()
             if name not in ("REEVE_RUNDIR", "OVS_RUNDIR")}
    return dict(clean, OVS_RUNDIR=str(folder))


def run(folder, *command):
    return subprocess.run([str(word) for word in command], text=True,
                          env=environment(folder), cwd=folder, timeout=60,
                          capture_output=True, check=False)


def start(folder, local):
    """Starts the daemon; its pid."""
    done = run(folder, PROGRAM, local, "--detach", "--pidfile")
    assert (done.returncode, done.stdout) == (0, ""), done
    return int((folder / "jsonrpcd.pid").read_text())


def end(pid, number=signal.SIGTERM):
    os.kill(pid, number)
    wait_gone(pid)


@pytest.fixture(params=["tcp", "unix"])
def daemon(request, tmp_path):
    """(pid, name to connect to) of one that runs."""
    if request.param == "tcp":
        port = free_port()
        pid = start(tmp_path, f"ptcp:{port}:127.0.0.1")
        remote = f"tcp:127.0.0.1:{port}"
    else:
        pid = start(tmp_path, f"punix:{tmp_path}/sock")
        remote = f"unix:{tmp_path}/sock"
    yield pid, remote
    if (tmp_path / "jsonrpcd.pid").exists():
        end(pid)


def need_python():
    if subprocess.run(["/usr/bin/python3", "-c", "import ovs.jsonrpc"],
                      capture_output=True, check=False).returncode:
        pytest.skip("no python3-openvswitch here")


def test_methods(daemon, tmp_path):
    need_python()
    done = run(tmp_path, "/usr/bin/python3", "-c", CLIENT, daemon[1])
    assert done.returncode == 0, done.stderr


def test_control_socket(daemon, tmp_path):
    pid, _ = daemon
    path = tmp_path / f"jsonrpcd.{pid}.ctl"
    assert path.stat().st_mode & 0o777 == 0o600
    done = run(tmp_path, paths.REEVE, "ctl", "-t", "jsonrpcd", "version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("jsonrpcd (reeve) ")
    if not shutil.which("ovs-appctl"):
        pytest.skip("no ovs-appctl here")

    def appctl(*arguments):
        done = run(tmp_path, "ovs-appctl", "-t", "jsonrpcd", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout
    listed = appctl("list-commands")
    assert listed.startswith("The available commands are:\n")
    for command in ("calls", "version", "vlog/set", "list-commands"):
        assert f"\n  {command} " in listed, listed
    assert appctl("calls") == "0\n"
    appctl("vlog/set", "jsonrpcd:dbg")
    assert "jsonrpcd" in appctl("vlog/list")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_cleanly(daemon, tmp_path, number):
    pid, _ = daemon
    assert list(tmp_path.glob("*.ctl")) and list(tmp_path.glob("*.pid"))
    end(pid, number)
    wait_until(lambda: not list(tmp_path.iterdir()), what="its files are gone")


def test_ends_with_sessions_open(daemon, tmp_path):
    need_python()
    pid, remote = daemon
    code = """
import os, sys, ovs.stream, ovs.jsonrpc
error, stream = ovs.stream.Stream.open_block(
    ovs.stream.Stream.open(sys.argv[1]))
rpc = ovs.jsonrpc.Connection(stream)
error, reply = rpc.transact_block(
    ovs.jsonrpc.Message.create_request("calls", []))
assert not error and reply.result == 1, (error, reply)
os.kill(int(sys.argv[2]), 15)
error, message = rpc.recv_block()
assert error and message is None
"""
    done = run(tmp_path, "/usr/bin/python3", "-c", code, remote, pid)
    assert done.returncode == 0, done.stderr
    wait_gone(pid)
    wait_until(lambda: not list(tmp_path.iterdir()), what="its files are gone")


def test_failures_to_start(tmp_path):
    for arguments, text in [
            ([], "usage: "), (["ptcp:0:127.0.0.1", "--bogus"], "usage: "),
            (["tcp:127.0.0.1:1"], "name to connect to"),
            (["punix:/no/such/folder/x"], "/no/such/folder/x"),
            (["punix:/no/such/folder/x", "--detach", "--pidfile"],
             "/no/such/folder/x")]:
        done = run(tmp_path, PROGRAM, *arguments)
        assert done.returncode == 1, done
        assert text in done.stderr, done
        assert not list(tmp_path.iterdir())


def test_second_one_is_refused(daemon, tmp_path):
    pid, _ = daemon
    done = run(tmp_path, PROGRAM, "ptcp:0:127.0.0.1", "--detach", "--pidfile")
    assert done.returncode == 1
    assert f"already running as pid {pid}" in done.stderr


BAD = {
    "no JSON": b"]",
    "wrong JSON": b'{"id":,}',
    "wrong UTF-8": b'{"id":0,"method":"\xff\xfe","params":[]}',
    "JSON-RPC 2.0": b'{"jsonrpc":"2.0","id":0,"method":"calls","params":[]}',
    "no message": b"[1]",
    "too deep": b"[" * 2000,
    "cut short": b'{"id":0,',
}


def test_bad_peers_are_named(tmp_path):
    """One line for each, and the others go on."""
    path = tmp_path / "sock"
    log = tmp_path / "log"
    good = b'{"id":1,"method":"add","params":[1,2]}'

    def ask(client):
        client.sendall(good)
        assert b'"result":3' in client.recv(4096)
    with open(log, "wb") as file:
        process = subprocess.Popen([PROGRAM, f"punix:{path}"], stderr=file,
                                   env=environment(tmp_path), cwd=tmp_path)
    try:
        wait_until(lambda: "serving" in log.read_text(), what="it serves",
                   process=process)
        with socket.socket(socket.AF_UNIX) as other:
            other.settimeout(10)
            other.connect(str(path))
            for n, (kind, data) in enumerate(BAD.items(), 1):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(10)
                    client.connect(str(path))
                    client.sendall(data)
                    client.shutdown(socket.SHUT_WR)
                    assert client.recv(4096) == b"", kind
                ask(other)
                wait_until(lambda n=n: log.read_text().count("|WARN|") >= n,
                           what=kind)
                assert log.read_text().count("|WARN|") == n, log.read_text()
    finally:
        end(process.pid)
        process.wait()
