"""Scaling under load.  A removed index's socket may have connections in its
queue, and none may be lost: a sibling or the leaving worker takes them."""
import pytest

from lib import paths
from lib.load import Load
from lib.process import gated


def web(port, workers, **more):
    return {"services": {"web": dict({
        "command": paths.EXAMPLES["c"], "workers": workers,
        "ready": "notify", "listen": f"127.0.0.1:{port}",
        "environment": {"DRAIN_IDLE_MS": "10000"}}, **more)}}


@pytest.mark.parametrize("keep_alive", [False, True],
                         ids=["close", "keepalive"])
@pytest.mark.parametrize("reuseport", [False, True],
                         ids=["shared", "reuseport"])
@pytest.mark.parametrize("to", [2, 1])
def test_shrink_and_grow_under_load(reeve, port, to, reuseport, keep_alive):
    made = reeve(web(port, 4, reuseport=reuseport))
    made.start()
    with Load(port, connections=24, keep_alive=keep_alive,
              think_ms=1) as load:
        for _ in range(3):
            for n in (to, 4):
                load.more(100)
                done = made.cli("scale", "web", n)
                assert done.returncode == 0, done.stderr
                assert len(made.pids()) == n
    load.assert_nothing_lost(at_least=600)


def test_nobody_waits_for_a_boot(reeve, port, tmp_path):
    """A new socket of a group gets no client before its worker is ready."""
    gate = tmp_path / "gate"
    gate.touch()
    made = reeve(web(port, 2, reuseport=True,
                     command=gated(gate, paths.EXAMPLES["c"])))
    made.start()
    with Load(port, connections=8, think_ms=1) as load:
        load.more(100)
        gate.unlink()
        assert made.cli("scale", "web", "4", "--no-wait").returncode == 0
        made.wait_for_status(lambda now: [
            w["state"] for w in now["services"][0]["workers"]]
            == ["ready", "ready", "starting", "starting"])
        # One who came to one of the new sockets would wait there until the
        # gate opens, and soon all would.
        load.more(400)
        gate.touch()
        made.wait_ready(n=4)
        # All four are asked in the end.
        load.wait_for(lambda now: len(now["workers"]) == 4)
        # So they are when a new master has taken over.
        made.kill(made.master_pid())
        load.more(100)
    load.assert_nothing_lost()


def test_shrink_by_reload(reeve, port):
    made = reeve(web(port, 4, reuseport=True))
    made.start()
    first = made.pids()
    with Load(port, connections=24, think_ms=1) as load:
        load.more(100)
        made.write_config(web(port, 2, reuseport=True))
        done = made.cli("reload")
        assert done.returncode == 0, done.stderr
        assert len(made.pids()) == 2
        load.more(100)
    load.assert_nothing_lost()
    assert len(first) == 4


def test_balance_with_reuseport(reeve, port):
    """With a socket each, the kernel spreads the connections."""
    made = reeve(web(port, 4, reuseport=True))
    made.start()
    with Load(port, connections=16, think_ms=1) as load:
        load.more(800)
    counts = sorted(w["n"] for w in load.workers())
    assert len(counts) == 4
    assert counts[-1] < 3 * counts[0], counts


def test_scale_while_rolling(reeve, port, tmp_path):
    """A number given during a roll holds for what the roll leads to."""
    gate = tmp_path / "gate"
    gate.touch()
    made = reeve(web(port, 2, command=gated(gate, paths.EXAMPLES["c"])))
    made.start()
    gate.unlink()
    with Load(port, connections=8, think_ms=2) as load:
        assert made.cli("reload", "--no-wait").returncode == 0
        assert made.status()["state"] == "rolling"
        done = made.cli("scale", "web", "3", "--no-wait")
        gate.touch()
        assert done.returncode == 0, done.stderr
        made.wait_for_status(
            lambda now: now["state"] == "running"
            and now["services"][0]["generation"] == 2
            and len(now["services"][0]["workers"]) == 3)
    load.assert_nothing_lost()
