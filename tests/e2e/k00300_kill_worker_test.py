"""kill -9 of workers under load: only connections in that worker break, and
its heir is there at once."""
import os
import signal
import socket
import subprocess
import time

import pytest

from lib import paths
from lib.load import Load
from lib.process import SOON_S, gated, wait_gone, wait_until


def web(port, workers=4, **more):
    return {"services": {"web": dict({
        "command": paths.EXAMPLES["c"], "workers": workers,
        "ready": "notify", "listen": f"127.0.0.1:{port}"}, **more)}}


def connections_of(pid):
    """Its accepted connections: the sockets above the inherited one."""
    count = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        target = os.readlink(entry.path)
        count += target.startswith("socket:") and int(entry.name) > 3
    return count


@pytest.mark.parametrize("reuseport", [False, True],
                         ids=["shared", "reuseport"])
@pytest.mark.parametrize("keep_alive", [False, True],
                         ids=["close", "keepalive"])
def test_only_its_own_connections_break(reeve, port, keep_alive, reuseport):
    made = reeve(web(port, reuseport=reuseport, max_restarts=0))
    made.start()
    with Load(port, connections=32, keep_alive=keep_alive,
              think_ms=2) as load:
        lost = 0
        for index in range(4):
            load.more(50)
            pid = made.workers()[index]["pid"]
            # Stopped first, so that what it holds stays what it is.
            made.kill(pid, signal.SIGSTOP)
            held = connections_of(pid)
            made.kill(pid)
            made.wait_for_status(
                lambda now: pid not in [
                    w["pid"] for w in now["services"][0]["workers"]]
                and now["services"][0]["ready"] == 4)
            load.more(50)
            now = load.snapshot()["lost"]
            assert now - lost <= held, (index, now - lost, held)
            print(f"\nweb.{index}: held {held}, lost {now - lost}")
            lost = now
        assert [w["restarts"] for w in made.workers()] == [1, 1, 1, 1]
    made.stop()


def start_by_hand():
    """Seconds from fork to the first answer of the program alone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start = time.monotonic()
        with subprocess.Popen(
                ["sh", "-c", 'LISTEN_PID=$$ exec "$@" 3<&0', "sh",
                 *paths.EXAMPLES["c"]], stdin=listener,
                env=dict(os.environ, LISTEN_FDS="1")) as process:
            ask(listener.getsockname())
            took = time.monotonic() - start
            process.kill()
    return took


def ask(address):
    with socket.create_connection(address, SOON_S) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200 OK" in client.recv(4096)


def test_heir_answers_at_once(reeve, port):
    """With a clock that stands, so that it cannot be a timer's doing."""
    made = reeve(web(port, 1, max_restarts=0))
    made.start()
    made.ctl("time/stop")
    times = []
    for _ in range(10):
        pid = made.pids()[0]
        start = time.monotonic()
        made.kill(pid)
        wait_gone(pid)
        ask(("127.0.0.1", port))  # Waits in the queue until then.
        times.append(time.monotonic() - start)
        # It lives long enough not to be one that fails again and again.
        made.wait_ready()
        made.ctl("time/warp", "60000")
    by_hand = sorted(start_by_hand() for _ in range(5))[2]
    median = sorted(times)[5]
    print(f"\nkill -9 to first answer: median {median * 1000:.1f} ms, max "
          f"{max(times) * 1000:.1f} ms; by hand {by_hand * 1000:.1f} ms, "
          f"ratio {median / by_hand:.2f}")
    assert made.workers()[0]["restarts"] == 10


def test_all_workers_killed_at_once(reeve, port):
    made = reeve(web(port, 4))
    made.start()
    before = made.pids()
    for pid in before:
        made.kill(pid)
    for pid in before:
        wait_gone(pid)
    # Nobody is refused: the sockets are the master's.
    ask(("127.0.0.1", port))
    made.wait_ready()
    assert not set(before) & set(made.pids())


def test_children_of_a_killed_worker_go_too(reeve, tmp_path):
    """Whatever is left of its process group would hold its sockets."""
    made = reeve({"services": {"job": {
        "command": ["sh", "-c", "sleep 1000 & echo $! > child; wait"],
        "directory": str(tmp_path), "ready_after": "10ms"}}})
    made.start()
    path = tmp_path / "child"
    child = wait_until(
        lambda: path.exists() and path.read_text().strip())
    path.unlink()
    made.kill(made.pids()[0])
    wait_gone(int(child))
    wait_until(lambda: path.exists() and path.read_text().strip())
    assert made.stop() == 0


def test_killed_while_starting(reeve, port, tmp_path):
    gate = tmp_path / "gate"
    made = reeve(web(port, 2, command=gated(gate, paths.EXAMPLES["c"])))
    made.start(ready=False)
    now = made.wait_for_status(
        lambda now: len(now["services"][0]["workers"]) == 2
        and all(w["pid"] for w in now["services"][0]["workers"]))
    made.kill(now["services"][0]["workers"][0]["pid"])
    made.wait_for_status(
        lambda now: now["services"][0]["workers"][0]["restarts"] == 1)
    gate.touch()
    made.wait_ready()
    assert [w["restarts"] for w in made.workers()] == [1, 0]


def test_killed_during_reload(reeve, port, tmp_path):
    """A candidate that dies rolls back; an old one that dies is replaced
    and does not stop the reload."""
    gate = tmp_path / "gate"
    gate.touch()
    made = reeve(web(port, 2, command=gated(gate, paths.EXAMPLES["c"])))
    made.start()
    old = made.pids()
    with Load(port, connections=4, think_ms=2) as load:
        for generation, is_rolled_back in ((2, True), (1, False)):
            gate.unlink()
            with subprocess.Popen(
                    [str(paths.REEVE), "reload", "-t", made.name],
                    env=made.environment, stderr=subprocess.PIPE,
                    stdout=subprocess.PIPE, text=True) as reload:
                now = made.wait_for_status(
                    lambda now: now["state"] == "rolling"
                    and len(now["services"][0]["workers"]) == 4)
                victim = next(w for w in now["services"][0]["workers"]
                              if w["generation"] == generation)
                made.kill(victim["pid"])
                made.wait_for_status(lambda now: victim["pid"] not in [
                    w["pid"] for w in now["services"][0]["workers"]])
                gate.touch()
                _, errors = reload.communicate(timeout=60)
            assert (reload.returncode == 1) == is_rolled_back, errors
            if is_rolled_back:
                assert "signal 9" in errors and "web." in errors
                assert made.pids() == old
    assert load.result["lost"] <= 4  # Those in the old one that was killed.
    made.wait_ready()
    assert not set(made.pids()) & set(old)
