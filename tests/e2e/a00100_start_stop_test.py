"""Starting and ending: `run`, `run --single`, `start`, `stop`, and what is
left of a start that failed: nothing but the reason."""
import os
import signal
import socket
import subprocess

import pytest

from lib import paths
from lib.load import Load
from lib.process import SOON_S, is_running, marked, wait_gone, wait_until


def web(port, workers=2, **more):
    return {"services": {"web": dict({
        "command": paths.EXAMPLES["c"], "workers": workers,
        "ready": "notify", "listen": f"127.0.0.1:{port}"}, **more)}}


def start_daemon(made, *arguments):
    return made.cli("start", "-c", made.config_path, *arguments,
                    target=False)


def test_start_returns_when_ready(reeve, port):
    made = reeve(web(port, 3))
    done = start_daemon(made)
    assert done.returncode == 0, done.stderr
    # Nothing to wait for: it is ready now.
    assert len(made.pids()) == 3
    keeper = made.keeper_pid()
    assert is_running(keeper)
    with Load(port, connections=4) as load:
        load.more(20)
    load.assert_nothing_lost()
    assert made.stop() is None
    # `stop` returns when all is gone, so that a start can follow at once.
    assert not is_running(keeper)
    assert list(made.runtime_dir.glob("*.ctl")) == []
    assert start_daemon(made).returncode == 0
    assert made.cli("stop").returncode == 0


def test_daemon_leaves_the_terminal(reeve, port):
    made = reeve(web(port, 1))
    read_end, write_end = os.pipe()
    with subprocess.Popen(
            [str(paths.REEVE), "start", "-c", str(made.config_path)],
            stdin=subprocess.DEVNULL, stdout=write_end, stderr=write_end,
            env=made.environment, cwd=made.folder) as process:
        os.close(write_end)
        assert process.wait(SOON_S) == 0
        # Whoever holds the pipe open would keep us here.
        while os.read(read_end, 4096):
            pass
    os.close(read_end)
    pid = made.keeper_pid()
    assert os.getsid(pid) == pid
    made.stop()


def nothing_left(made):
    wait_until(lambda: not marked(made.marker), what="all processes gone")
    left = [path.name for path in made.runtime_dir.iterdir()
            if path.suffix in (".ctl", ".pid", ".registry")]
    assert left == []


def test_start_says_why_a_worker_failed(reeve, port):
    made = reeve(web(port, command=["sh", "-c",
                                    "echo the disk is made of cheese; "
                                    "exit 7"]))
    done = start_daemon(made)
    assert done.returncode == 1
    assert "web." in done.stderr and "status 7" in done.stderr
    assert "the disk is made of cheese" in done.stderr
    nothing_left(made)


def test_start_says_that_a_program_is_missing(reeve, port):
    made = reeve(web(port, command=["/no/such/program"]))
    done = start_daemon(made)
    assert done.returncode == 1
    assert "/no/such/program" in done.stderr or "No such file" in done.stderr
    nothing_left(made)


def test_start_gives_up_on_one_that_is_never_ready(reeve, port):
    made = reeve(web(port, command=["sleep", "60"], start_timeout="300ms"))
    done = start_daemon(made)
    assert done.returncode == 1
    assert "start_timeout" in done.stderr and "web." in done.stderr
    nothing_left(made)


@pytest.mark.parametrize("verb,status", [("run", 1), ("start", 1)])
def test_port_in_use(reeve, port, verb, status):
    with socket.create_server(("127.0.0.1", port)):
        made = reeve(web(port))
        done = made.cli(verb, "-c", made.config_path, target=False)
        assert done.returncode == status
        assert str(port) in done.stderr
        assert "in use" in done.stderr
        nothing_left(made)


@pytest.mark.parametrize("verb", ["run", "start"])
def test_wrong_configuration(reeve, verb):
    made = reeve("services:\n  web:\n    comand: [sleep, 1]\n")
    done = made.cli(verb, "-c", made.config_path, target=False)
    assert done.returncode == 78
    assert f"{made.config_path}:3:" in done.stderr
    assert "command" in done.stderr
    nothing_left(made)


def test_configuration_that_is_not_there(reeve, tmp_path):
    made = reeve()
    done = made.cli("start", "-c", tmp_path / "no.yaml", target=False)
    assert done.returncode == 78
    assert "no.yaml" in done.stderr


@pytest.mark.parametrize("verb", ["run", "start"])
def test_name_runs_already(reeve, port, verb):
    made = reeve(web(port, 1))
    made.start()
    pid = made.keeper_pid()
    done = made.cli(verb, "-c", made.config_path, target=False)
    assert done.returncode == 1
    assert str(pid) in done.stderr and "already" in done.stderr
    assert made.keeper_pid() == pid and len(made.pids()) == 1
    assert made.stop() == 0


def test_run_with_a_program(reeve, port):
    made = reeve()
    made.start("run", "-n", made.name, "-l", f"127.0.0.1:{port}", "-w", "2",
               "--ready", "notify", "-e", "VERSION=seven", "--",
               *paths.EXAMPLES["c"], ready=False)
    wait_until(lambda: made.keeper_pid(), what="pidfile", process=made.process)
    made.wait_for_status(lambda now: now["services"][0]["ready"] == 2)
    with Load(port, connections=2, expect="version=seven"):
        pass
    before = made.pids()
    # Reload rolls: the program may be new.
    assert made.cli("reload").returncode == 0
    assert not set(before) & set(made.pids())
    assert made.stop() == 0


def test_interrupt_drains(reeve, port):
    """Ctrl-C: SIGINT to the keeper's process group, the workers not in it."""
    made = reeve(web(port))
    made.start()
    with socket.create_connection(("127.0.0.1", port), SOON_S) as client:
        client.sendall(b"GET /slow?ms=400 HTTP/1.1\r\nHost: x\r\n\r\n")
        made.process.send_signal(signal.SIGINT)
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
    assert b"200 OK" in answer and b"pid=" in answer
    assert made.process.wait(SOON_S) == 0
    nothing_left(made)


def test_interrupt_of_the_whole_process_group(reeve, port):
    made = reeve(web(port))
    with open(made.output_path, "ab") as output:
        made.process = subprocess.Popen(
            [str(paths.REEVE), "run", "-c", str(made.config_path)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env=made.environment, cwd=made.folder, start_new_session=True)
    made.wait_ready()
    with Load(port, connections=4, keep_alive=True, think_ms=5) as load:
        load.more(50)
    load.assert_nothing_lost()
    os.killpg(made.process.pid, signal.SIGINT)
    assert made.process.wait(SOON_S) == 0


def test_stop_now_is_fast(reeve, port):
    made = reeve(web(port))
    made.start()
    with socket.create_connection(("127.0.0.1", port), SOON_S) as client:
        client.sendall(b"GET /slow?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n")
        done = made.cli("stop", "--now")
        assert done.returncode == 0, done.stderr
    assert made.process.wait(SOON_S) == 0
    nothing_left(made)


def test_stop_no_wait(reeve, port):
    made = reeve(web(port))
    made.start()
    pids = made.pids()
    assert made.cli("stop", "--no-wait").returncode == 0
    assert made.process.wait(SOON_S) == 0
    for pid in pids:
        wait_gone(pid)


def test_single(reeve, port):
    made = reeve(web(port))
    made.start("run", "--single", "-c", made.config_path, ready=False)
    with Load(port, connections=2, wait=False) as load:
        load.wait_for(lambda now: now["ok"] > 10)
        # One process, and it is the one that was started.
        assert list(marked(made.marker)) == [made.process.pid]
    assert load.result["workers"][0]["pid"] == str(made.process.pid)
    made.process.send_signal(signal.SIGTERM)
    assert made.process.wait(SOON_S) == 0


def test_single_with_a_missing_program(reeve, port):
    made = reeve(web(port, command=["/no/such/program"]))
    done = made.cli("run", "--single", "-c", made.config_path, target=False)
    assert done.returncode == 127
    assert "No such file" in done.stderr
