"""Reloads under load: not one request is lost.

E2E_LONG=1 makes 50 reloads of each kind instead of a few.
"""
import os
import time

import pytest

from lib import paths
from lib.load import Load
from lib.process import free_port, wait_until

LONG = os.environ.get("E2E_LONG") == "1"


def service(command, port, workers=2, **more):
    return dict({"command": command, "workers": workers, "ready": "notify",
                 "listen": f"127.0.0.1:{port}",
                 "environment": {"DRAIN_IDLE_MS": "10000"}}, **more)


def web(port, workers=2, **more):
    return {"services": {"web": service(paths.EXAMPLES["c"], port, workers,
                                        **more)}}


def n_reloads(name):
    if LONG:
        return 50
    return {"c": 10}.get(name, 3)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("reuseport", [False, True],
                         ids=["shared", "reuseport"])
@pytest.mark.parametrize("keep_alive", [False, True],
                         ids=["close", "keepalive"])
def test_reloads_under_load(reeve, port, example, keep_alive, reuseport):
    name, command = example
    made = reeve({"services": {"web": service(command, port,
                                              reuseport=reuseport)}})
    made.start()
    n = n_reloads(name)
    asked = {}
    with Load(port, connections=16, keep_alive=keep_alive,
              think_ms=5) as load:
        for generation in range(2, n + 2):
            load.more(20)
            asked[generation] = time.monotonic() * 1000
            done = made.cli("reload")
            assert done.returncode == 0, done.stderr
        assert made.service()["generation"] == n + 1
        load.wait_for(lambda now: any(w["generation"] == str(n + 1)
                                      for w in now["workers"]))
    load.assert_nothing_lost(at_least=20 * n)
    if keep_alive:
        assert load.result["idle_closed"] == 0
    first = [load.first_ms(g) - asked[g] for g in asked]
    last = [load.last_ms(g - 1) - asked[g] for g in asked]
    print(f"\n{name} keep_alive={keep_alive} reuseport={reuseport}: "
          f"{n} reloads, {load.result['ok']} answers, 0 lost; "
          f"ms from reload to first new answer: median "
          f"{sorted(first)[n // 2]:.1f} max {max(first):.1f}, to last old: "
          f"median {sorted(last)[n // 2]:.1f} max {max(last):.1f}")


def test_batch_reload_never_has_fewer(reeve, port):
    made = reeve(web(port, 4, batch=1))
    made.start()
    first = set(made.pids())
    with Load(port, connections=8, think_ms=2) as load:
        assert made.cli("reload", "--no-wait").returncode == 0
        counts = []

        def is_over(now):
            workers = now["services"][0]["workers"]
            counts.append((sum(w["state"] == "ready" for w in workers),
                           sum(w["state"] in ("ready", "starting")
                               for w in workers)))
            return (now["services"][0]["generation"] == 2
                    and len(workers) == 4
                    and all(w["state"] == "ready" for w in workers))
        made.wait_for_status(is_over)
    load.assert_nothing_lost()
    assert min(ready for ready, _ in counts) >= 4
    assert max(live for _, live in counts) <= 5
    assert not first & set(made.pids())


def test_service_added_and_removed(reeve):
    ports = [free_port() for _ in range(3)]
    command = paths.EXAMPLES["c"]
    config = {"services": {"a": service(command, ports[0]),
                           "b": service(command, ports[1])}}
    made = reeve(config)
    made.start()
    a = made.pids("a")
    with Load(ports[0], connections=4, keep_alive=True, think_ms=2) as load:
        config["services"]["c"] = service(command, ports[2], 3)
        made.write_config(config)
        assert made.cli("reload").returncode == 0
        assert len(made.pids("c")) == 3
        with Load(ports[2], connections=2):
            pass
        gone = made.pids("b")
        del config["services"]["b"]
        made.write_config(config)
        assert made.cli("reload").returncode == 0
        now = made.status()
        assert [s["name"] for s in now["services"]] == ["a", "c"]
        assert not any(os.path.exists(f"/proc/{pid}") for pid in gone)
        with Load(ports[1], connections=1, wait=False) as refused:
            refused.wait_for(lambda now: now["refused"] > 0)
        # Whose configuration did not change has not been touched.
        assert made.pids("a") == a
    load.assert_nothing_lost()
    assert len(load.result["workers"]) <= 2


def test_changed_service_only(reeve):
    ports = [free_port() for _ in range(2)]
    command = paths.EXAMPLES["c"]
    config = {"services": {"a": service(command, ports[0]),
                           "b": service(command, ports[1])}}
    made = reeve(config)
    made.start()
    a, b = made.pids("a"), made.pids("b")
    config["services"]["b"]["environment"]["VERSION"] = "two"
    made.write_config(config)
    assert made.cli("reload").returncode == 0
    assert made.pids("a") == a and not set(made.pids("b")) & set(b)
    with Load(ports[1], connections=2, expect="version=two"):
        pass
    # A number of workers alone keeps those that stay.
    config["services"]["a"]["workers"] = 3
    made.write_config(config)
    assert made.cli("reload").returncode == 0
    assert len(made.pids("a")) == 3
    assert made.service("b")["generation"] == 2


def test_changed_address(reeve):
    """The old address answers until the new one does."""
    old, new = free_port(), free_port()
    made = reeve(web(old))
    made.start()
    with Load(old, connections=4, think_ms=2) as load:
        load.more(20)
        made.write_config(web(new))
        done = made.cli("reload", "--no-wait")
        assert done.returncode == 0, done.stderr
        with Load(new, connections=4, think_ms=2, wait=False) as after:
            after.wait_for(lambda now: now["ok"] > 0)
            load.wait_for(lambda now: now["refused"] > 0)
            after.more(1)
        # Whoever asks at an address that goes away is refused, or reset if
        # he came at the very end; a request that was read is answered.
        now = load.snapshot()
        assert now["lost"] == now["refused"] + now["reset_fresh"], now
    assert load.last_ms(1) <= after.last_ms(2)
    made.wait_for_status(lambda now: now["state"] == "running")
    assert made.service()["listen"] == [f"tcp:127.0.0.1:{new}"]


def test_new_address_that_is_taken(reeve, port):
    other = reeve(web(port, 1), "other")
    other.start()
    mine = free_port()
    made = reeve(web(mine))
    made.start()
    before = made.pids()
    made.write_config(web(port))
    done = made.cli("reload")
    assert done.returncode == 1
    assert "in use" in done.stderr and str(port) in done.stderr
    assert made.pids() == before
    with Load(mine, connections=2):
        pass
    made.write_config(web(mine))
    assert made.cli("reload").returncode == 0


@pytest.mark.parametrize("key", ["reuseport", "nonblocking"])
def test_what_cannot_change(reeve, port, key):
    made = reeve(web(port, 2))
    made.start()
    before = made.pids()
    with Load(port, connections=8, think_ms=2) as load:
        made.write_config(web(port, 2, listen={
            "address": f"127.0.0.1:{port}", key: True}))
        done = made.cli("reload")
        assert done.returncode == 1
        assert f"`{key}`" in done.stderr and str(port) in done.stderr
        assert made.pids() == before
    load.assert_nothing_lost()


@pytest.mark.parametrize("nonblocking", [False, True])
def test_blocking_mode(reeve, port, nonblocking):
    """The mode in which a program that changes nothing gets its socket, at
    the start and after a reload."""
    made = reeve({"services": {"web": {
        "command": "sleep 1000", "ready_after": "1ms", "listen": {
            "address": f"127.0.0.1:{port}", "nonblocking": nonblocking}}}})
    made.start()

    def is_as_wanted():
        [pid] = made.pids()
        try:
            with open(f"/proc/{pid}/fdinfo/3", encoding="ascii") as file:
                flags = dict(line.split(":", 1) for line in file)["flags"]
        except FileNotFoundError:
            return False
        return bool(int(flags, 8) & os.O_NONBLOCK) == nonblocking

    # A millisecond after its start it may not be the program yet.
    wait_until(is_as_wanted)
    made.cli("reload", check=True)
    wait_until(is_as_wanted)


def test_reload_supersedes_reload(reeve, port):
    made = reeve(web(port, 2))
    made.start()
    with Load(port, connections=8, keep_alive=True, think_ms=2) as load:
        for _ in range(5):
            assert made.cli("reload", "--no-wait").returncode == 0
        assert made.cli("reload").returncode == 0
    load.assert_nothing_lost()
    assert len(made.workers()) == 2
