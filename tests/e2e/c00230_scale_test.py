"""Scaling under load.  A removed index's socket may have connections in its
queue, and none may be lost: a sibling or the leaving worker takes them."""
import pytest

from lib import paths
from lib.load import Load


def web(port, workers, **more):
    return {"services": {"web": dict({
        "command": paths.EXAMPLES["c"], "workers": workers,
        "ready": "notify", "listen": f"127.0.0.1:{port}",
        "environment": {"DRAIN_IDLE_MS": "1000"}}, **more)}}


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


def test_nobody_waits_for_a_boot(reeve, port):
    """A new socket of a group gets no client before its worker is ready."""
    boots = ["sh", "-c", "[ $REEVE_WORKER -lt 2 ] || sleep 0.5; exec "
             + " ".join(paths.EXAMPLES["c"])]
    made = reeve(web(port, 2, reuseport=True, command=boots))
    made.start()
    with Load(port, connections=8, think_ms=1) as load:
        load.more(100)
        assert made.cli("scale", "web", "4").returncode == 0
        # All four are asked in the end.
        load.wait_for(lambda now: len(now["workers"]) == 4)
        # So they are when a new master has taken over.
        made.kill(made.master_pid())
        load.more(100)
    load.assert_nothing_lost()
    assert load.result["max_ms"] < 400


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


def test_scale_while_rolling(reeve, port):
    """A number given during a roll holds for what the roll leads to."""
    made = reeve(web(port, 2, command=[
        "sh", "-c", 'sleep 0.2; exec "$@"', "sh", *paths.EXAMPLES["c"]]))
    made.start()
    with Load(port, connections=8, think_ms=2) as load:
        assert made.cli("reload", "--no-wait").returncode == 0
        assert made.status()["state"] == "rolling"
        done = made.cli("scale", "web", "3")
        assert done.returncode == 0, done.stderr
        made.wait_for_status(
            lambda now: now["state"] == "running"
            and now["services"][0]["generation"] == 2
            and len(now["services"][0]["workers"]) == 3)
    load.assert_nothing_lost()
