"""kill -9 of the master, at any moment: the service goes on, and the next
master has every worker, socket and the last good configuration."""
import os
import signal
import socket
import subprocess
import time

import pytest

from lib import paths
from lib.load import Load
from lib.process import SOON_S, gated, is_running, wait_until

N_KILLS = 20


def web(port, workers=2, **more):
    return {"services": {"web": dict({
        "command": paths.EXAMPLES["c"], "workers": workers,
        "ready": "notify", "listen": f"127.0.0.1:{port}"}, **more)}}


def kill_master(made, same_workers=True):
    """Kills it, waits for the next; milliseconds until `reeve status` was
    right about the master and, if asked, as before about the workers."""
    status = made.status()
    pid = status["master"]["pid"]
    before = [w["pid"] for s in status["services"] for w in s["workers"]]
    made.kill(pid)
    killed = time.monotonic()

    def is_right(now):
        pids = [w["pid"] for s in now["services"] for w in s["workers"]]
        return (now["master"]["pid"] != pid
                and (pids == before or not same_workers))
    made.wait_for_status(is_right)
    return (time.monotonic() - killed) * 1000


@pytest.mark.parametrize("reuseport", [False, True],
                         ids=["shared", "reuseport"])
def test_master_killed_under_load(reeve, port, reuseport):
    made = reeve(web(port, reuseport=reuseport))
    made.start()
    pids = made.pids()
    times = []
    with Load(port, connections=8, keep_alive=True, think_ms=5) as kept, \
            Load(port, connections=8, think_ms=5) as closed:
        for _ in range(N_KILLS):
            times.append(kill_master(made))
            assert made.pids() == pids
            closed.more(10)
    kept.assert_nothing_lost()
    closed.assert_nothing_lost()
    assert [w["state"] for w in made.workers()] == ["ready"] * 2
    assert made.status()["master"]["restarts"] == N_KILLS
    times.sort()
    print(f"\nmaster killed {N_KILLS} times: status right after median "
          f"{times[len(times) // 2]:.1f} ms, max {times[-1]:.1f} ms")
    # No measurement: one that waits for a timer would do so each time.
    assert times[len(times) // 2] < 2000
    # Everything still works.
    assert made.cli("reload").returncode == 0
    assert not set(made.pids()) & set(pids)
    assert made.stop() == 0


def test_adopted_worker_is_watched(reeve, port):
    made = reeve(web(port))
    made.start()
    kill_master(made)
    victim, other = made.pids()
    made.kill(victim)
    made.wait_for_status(
        lambda now: now["services"][0]["ready"] == 2
        and victim not in [w["pid"]
                           for w in now["services"][0]["workers"]])
    assert other in made.pids()
    assert "was killed by signal 9" in made.output()


def test_adopted_worker_exit_status_is_known(reeve):
    made = reeve({"services": {"job": {
        "command": ["sh", "-c", "trap 'echo going; exit 7' USR1; "
                    "$REEVE_EXECUTABLE notify READY=1; "
                    "while :; do sleep 1000 & wait $!; done"],
        "ready": "notify"}}})
    made.start()
    kill_master(made)
    made.kill(made.pids()[0], signal.SIGUSR1)
    made.wait_output("exited with status 7")
    made.wait_output("going")  # Its output still arrives.
    made.wait_ready()


def test_worker_that_ends_while_there_is_no_master(reeve, port):
    made = reeve(web(port))
    made.start()
    status = made.status()
    victim, other = made.pids()
    keeper = made.keeper_pid()
    made.kill(keeper, signal.SIGSTOP)  # So that it starts no other yet.
    made.kill(status["master"]["pid"])
    made.kill(victim)
    # Clients are served meanwhile.
    with Load(port, connections=4) as load:
        load.more(50)
    load.assert_nothing_lost()
    made.kill(keeper, signal.SIGCONT)
    made.wait_for_status(
        lambda now: now["services"][0]["ready"] == 2
        and now["master"]["pid"] != status["master"]["pid"])
    assert victim not in made.pids() and other in made.pids()
    assert made.stop() == 0


def test_signals_while_there_is_no_master(reeve, port):
    made = reeve(web(port))
    made.start()
    keeper, master = made.keeper_pid(), made.master_pid()
    made.kill(keeper, signal.SIGSTOP)
    made.kill(master)
    made.kill(keeper, signal.SIGHUP)
    made.kill(keeper, signal.SIGCONT)
    made.wait_for_status(lambda now: now["services"][0]["generation"] == 2)
    assert made.stop() == 0


def test_broken_file_does_not_matter(reeve, port):
    made = reeve(web(port, 2, environment={"VERSION": "good"}))
    made.start()
    pids = made.pids()
    dump = made.cli("dump").stdout
    good = made.config
    made.config_path.write_text("services: ] broken", encoding="utf-8")
    kill_master(made)
    assert made.pids() == pids
    assert made.cli("dump").stdout == dump
    made.kill(pids[0])
    made.wait_ready()
    assert made.cli("reload").returncode == 1
    with Load(port, connections=2, expect="version=good"):
        pass
    made.write_config(good)
    assert made.cli("reload").returncode == 0
    assert made.stop() == 0


def test_uncommitted_file_does_not_matter(reeve, port):
    made = reeve(web(port, 2, environment={"VERSION": "one"}))
    made.start()
    made.write_config(web(port, 3, environment={"VERSION": "two"}))
    kill_master(made)
    assert len(made.pids()) == 2
    with Load(port, connections=2, expect="version=one"):
        pass
    assert made.cli("reload").returncode == 0
    assert len(made.pids()) == 3


def test_scale_survives(reeve, port):
    made = reeve(web(port, 2, reuseport=True))
    made.start()
    assert made.cli("scale", "web", "4").returncode == 0
    pids = made.pids()
    with Load(port, connections=8, think_ms=2) as load:
        kill_master(made)
        assert made.pids() == pids and made.service()["wanted"] == 4
        assert made.cli("scale", "web", "1").returncode == 0
        kill_master(made)
        assert made.pids() == pids[:1] and made.service()["wanted"] == 1
    load.assert_nothing_lost()


def test_pause_survives(reeve, port):
    made = reeve(web(port))
    made.start()
    made.kill(made.keeper_pid(), signal.SIGWINCH)
    made.wait_for_status(lambda now: not now["services"][0]["workers"])
    kill_master(made)
    now = made.status()
    assert now["state"] == "paused" and not now["services"][0]["workers"]
    made.kill(made.keeper_pid(), signal.SIGHUP)
    made.wait_for_status(lambda now: now["services"][0]["ready"] == 2)


@pytest.mark.parametrize("ready", ["notify", "alive", "exec test -e {gate}"])
def test_master_killed_while_workers_start(reeve, port, tmp_path, ready):
    gate = tmp_path / "gate"
    made = reeve(web(port, 2, command=gated(gate, paths.EXAMPLES["c"]),
                     ready_after="3s", ready=ready.format(gate=gate)))
    made.start(ready=False)
    now = made.wait_for_status(
        lambda now: len(now["services"][0]["workers"]) == 2
        and all(w["pid"] for w in now["services"][0]["workers"]))
    pids = [w["pid"] for w in now["services"][0]["workers"]]
    assert {w["state"] for w in now["services"][0]["workers"]} == {"starting"}
    kill_master(made)
    gate.touch()
    made.wait_ready()
    # It was in time, so nobody was started anew.
    assert made.pids() == pids
    assert made.stop() == 0


def test_master_killed_while_probed_workers_start(reeve, port, tmp_path):
    program = tmp_path / "server.py"
    program.write_text(
        "import os, select, socket\n"
        "n = int(os.environ['LISTEN_FDS'])\n"
        "all = [socket.socket(fileno=3 + i) for i in range(n)]\n"
        "select.select([], [], [], 0.5)\n"
        "while True:\n"
        "    for s in select.select(all, [], [])[0]:\n"
        "        c = s.accept()[0]\n"
        "        c.recv(4096)\n"
        "        c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n')\n"
        "        c.close()\n", encoding="utf-8")
    made = reeve(web(port, 1, command=["/usr/bin/python3", str(program)],
                     ready="http /"))
    made.start(ready=False)
    made.wait_for_status(lambda now: now["services"][0]["workers"]
                         and now["services"][0]["workers"][0]["pid"])
    pid = made.workers()[0]["pid"]
    kill_master(made)
    made.wait_ready()
    assert made.pids() == [pid]
    assert made.stop() == 0


def is_consistent(now):
    service = now["services"][0]
    workers = service["workers"]
    return (now["state"] == "running" and len(workers) == service["wanted"]
            and all(w["state"] == "ready"
                    and w["generation"] == service["generation"]
                    for w in workers))


class Slow:
    """A client whose connection keeps a draining worker, until `end`."""

    # Of a worker that has such a client.
    ENVIRONMENT = {"DRAIN_IDLE_MS": "60000"}

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)

    def __enter__(self):
        # Answered, so it is a worker's.
        self.socket.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in self.socket.recv(4096)
        return self

    def __exit__(self, *_):
        self.socket.close()

    def end(self):
        """The last request, which must be answered."""
        self.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n"
                            b"Connection: close\r\n\r\n")
        answer = b""
        while data := self.socket.recv(4096):
            answer += data
        assert b"200 OK" in answer


# What the status says at the moment of the kill.
MOMENTS = {
    "starting": lambda s: len(s["workers"]) == 4,
    "soaking": lambda s: s["candidates_ready"] == 2,
    "draining": lambda s: s["draining"] > 0,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_master_killed_during_reload(reeve, port, tmp_path, moment):
    """The service is then rolled back or committed, and nobody is lost."""
    gate = tmp_path / "gate"
    gate.touch()

    def version(number, **more):
        return web(port, 2, command=gated(gate, paths.EXAMPLES["c"]),
                   environment=dict(Slow.ENVIRONMENT, VERSION=number), **more)

    made = reeve(version("1"))
    made.start()
    old = made.pids()
    # None of the moments ends before the kill.
    made.write_config(version(
        "2", soak="1h" if moment == "soaking" else "0"))
    if moment == "starting":
        gate.unlink()
    with Slow(port) as slow, Load(port, connections=8, think_ms=5) as load:
        with subprocess.Popen(
                [str(paths.REEVE), "reload", "-t", made.name],
                env=made.environment, stderr=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True) as reload:
            made.wait_for_status(
                lambda now: MOMENTS[moment](now["services"][0]))
            kill_master(made, same_workers=False)
            gate.touch()
            _, errors = reload.communicate(timeout=60)
        assert reload.returncode == 1, errors
        assert "master" in errors
        slow.end()
        now = made.wait_for_status(is_consistent)
        generation = now["services"][0]["generation"]
        if generation == 1:
            assert made.pids() == old
        assert (f"VERSION: '{generation}'"
                in made.cli("dump").stdout.replace('"', "'"))
        # And the next reload works.
        made.write_config(version("3"))
        done = made.cli("reload")
        assert done.returncode == 0, done.stderr
        load.more(20)
    load.assert_nothing_lost()
    assert generation == (2 if moment == "draining" else 1)
    assert made.stop() == 0


def test_master_killed_while_stopping(reeve, port):
    made = reeve(web(port, environment=Slow.ENVIRONMENT))
    made.start()
    with Slow(port) as slow:
        made.kill(made.keeper_pid(), signal.SIGTERM)
        made.wait_for_status(lambda now: now["state"] == "stopping")
        master = made.master_pid()
        made.kill(master)
        made.wait_for_status(lambda now: now["master"]["pid"] != master)
        slow.end()
    # The next master knows that it was told to stop.
    assert made.process.wait(SOON_S) == 0


def test_masters_that_die_young(reeve, port):
    """Kills as fast as they come up: never given up, workers untouched."""
    made = reeve(web(port))
    made.start()
    pids = made.pids()
    for _ in range(10):
        master = made.wait_for_status(lambda now: True)["master"]["pid"]
        os.kill(master, signal.SIGKILL)
        wait_until(lambda: not is_running(master))
    made.wait_for_status(lambda now: now["master"]["restarts"] == 10)
    assert made.pids() == pids
    assert made.stop() == 0
