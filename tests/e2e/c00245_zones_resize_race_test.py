"""Several who change the size of a zone at once: no page goes that is in use.
"""
import subprocess

import pytest

from lib import paths
from lib.process import wait_until

from c00240_zones_test import MIB, ask, config, numbers, reload, zone
from c00242_zones_kept_test import Kept


def empty(port):
    """And each worker gives back what it has in its hands."""
    assert ask(port, "empty") == "OK"


def assert_whole(made, port, filled):
    assert numbers(port) == (3, filled)
    done = made.cli("zone", "check", "z")
    assert done.returncode == 0, done.stderr


def test_a_late_shrink_is_refused(reeve, port):
    """What `reeve zone resize z 8MiB` asks the master for in the end, after
    another one made the zone bigger and a worker used that."""
    made = reeve(config(port, workers=1, size="16MiB", max_size="64MiB"))
    made.start()
    assert ask(port, "add 3") == "OK"
    for grow in (lambda: made.cli("zone", "resize", "z", "32MiB"),
                 lambda: reload(made, z={"size": "64MiB"})):
        assert grow().returncode == 0
        size = zone(made)["size"]
        assert ask(port, f"fill {size * 3 // 4}") == "OK"
        filled = numbers(port)[1]
        late = made.cli("ctl", "zone/resize", "z", "8MiB", "trimmed")
        assert late.returncode != 0
        assert "in use" in late.stderr and 'zone "z"' in late.stderr
        assert zone(made)["size"] == size
        assert_whole(made, port, filled)
    # Nothing is left over that would be in the way.
    empty(port)
    done = made.cli("zone", "resize", "z", "8MiB")
    assert done.returncode == 0, done.stderr
    assert zone(made)["size"] == 8 * MIB
    assert_whole(made, port, 0)


@pytest.mark.parametrize("who", ["master", "keeper"])
def test_one_dies_while_a_file_is_made(reeve, port, tmp_path, who):
    """The next master removes what no configuration in force has had."""
    path = tmp_path / "new.zone"
    made = reeve(config(port, workers=1))
    made.start()
    assert ask(port, "add 3") == "OK"
    service = made.config["services"]["web"]
    good = list(service["command"])

    def reload_and_kill(command):
        made.config["zones"]["new"] = {"size": "1MiB", "file": str(path)}
        service.update(zones=["z", "new"], command=command)
        made.write_config(made.config)
        before = made.status()
        with subprocess.Popen(
                [str(paths.REEVE), "reload", "-t", made.name],
                env=made.environment, cwd=made.folder,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as it:
            wait_until(path.exists, what="the file")
            made.wait_for_status(lambda now: len(pids(now)) == 2)
            made.kill(before[who]["pid"])
            it.wait(30)
        made.wait_for_status(lambda now: all(
            now[one]["pid"] != before[one]["pid"] for one in {"master", who}))

    def pids(status):
        return [w for s in status["services"] for w in s["workers"]]
    waiting = ["sleep", "1000"]  # Which is never ready.
    reload_and_kill(waiting)
    wait_until(lambda: not path.exists(), what="the file to go")
    assert numbers(port) == (3, 0)
    # One that was in force stays.
    service["command"] = good
    assert reload(made).returncode == 0
    assert path.exists()
    reload_and_kill(waiting)
    made.wait_for_status(lambda now: len(pids(now)) == 1)
    assert path.exists()
    assert numbers(port) == (3, 0)
    made.cli("stop", check=True)


def test_many_at_once(reeve):
    """While workers use all there is of it."""
    kept = Kept(reeve)
    made = kept.made
    made.start()

    def resize(size):
        return subprocess.Popen(
            [str(paths.REEVE), "zone", "-t", made.name, "resize", "z", size],
            env=made.environment, cwd=made.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    n_done = 0
    for turn in range(12):
        running = [resize(size) for size in
                   ("12MiB", "32MiB", "10MiB", "64MiB")]
        if turn % 3 == 0:
            running[turn % 4].kill()
        if turn % 4 == 0:
            kept.reload()
        for process in running:
            _, errors = process.communicate(timeout=30)
            n_done += process.returncode == 0
            assert process.returncode in (0, 1, -9), errors
    assert n_done
    done = made.cli("zone", "resize", "z", "64MiB")
    assert done.returncode == 0, done.stderr
    kept.assert_kept()
    kept.end()
