"""A dict in a zone, and its users, through everything that can be done to
them: no key is lost, no value is torn, and no operation fails."""
import random
import socket

from lib import paths
from lib.process import free_port, wait_gone, wait_until

REEVE_TEST = paths.BUILD / "tests" / "programs" / "reeve-test"
MIB = 1 << 20
KEYS = 20000


def worker(workers, *more, **keys):
    return dict({"command": [str(REEVE_TEST), "test-dict", "z", str(KEYS),
                             *more],
                 "workers": workers, "ready": "notify", "zones": ["z"],
                 "backoff": {"min": "1ms", "max": "1ms"},
                 "max_restarts": 1000}, **keys)


def checksum(text):
    """FNV-1a, as the workers have it."""
    value = 0xcbf29ce484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001b3 % 2 ** 64
    return value


class Kept:
    """A reeve whose workers use the dict, and an auditor that looks."""

    def __init__(self, reeve, workers=3, **keys):
        self.port = free_port()
        self.made = reeve({
            "zones": {"z": dict({"size": "8MiB", "max_size": "64MiB"},
                                **keys)},
            "services": {"web": worker(workers),
                         "audit": worker(1, "audit",
                                         listen=f"127.0.0.1:{self.port}")}})
        self.n_keys = KEYS
        self.n_done = 0

    def ask(self, line):
        """The auditor's answer; asks the next one if this one dies."""
        def try_to_ask():
            try:
                with socket.create_connection(("127.0.0.1", self.port), 20) \
                        as client, client.makefile("rw") as file:
                    file.write(line + "\n")
                    file.flush()
                    return file.readline().strip()
            except ConnectionError:
                return None
        return wait_until(try_to_ask, what=line)

    def zone(self):
        return self.made.status()["zones"][0]

    def counts(self):
        """Operations, failures, and deaths within a write."""
        return tuple(map(int, self.ask("count").split()))

    def assert_kept(self):
        """And all goes on."""
        before = self.counts()[0]
        assert before >= self.n_done
        self.assert_whole()
        wait_until(lambda: self.counts()[0] > before + 5000,
                   what="progress")
        self.n_done, failures, _ = self.counts()
        assert failures == 0 and "FAILED" not in self.made.output()

    def assert_whole(self):
        assert self.ask("audit") == f"{self.n_keys} 0 0"
        key = f"k{random.randrange(self.n_keys)}"
        text = self.made.cli("dict", "z", "get", key, check=True).stdout
        text, value = text.rstrip("\n").rsplit(" ", 1)
        assert text.split()[0] == key
        assert int(value, 16) == checksum(text + " ")

    def end(self):
        """When nobody writes any more, all structures can be walked."""
        assert self.made.cli("scale", "web", "0").returncode == 0
        self.made.wait_for_status(lambda now: not self.workers(now))
        self.assert_whole()
        assert self.ask("check") == "OK"
        self.made.cli("stop", check=True)

    def workers(self, status):
        return [w["pid"] for s in status["services"] if s["name"] == "web"
                for w in s["workers"]]

    def kill(self, pids):
        """Does not wait for those that come in their place."""
        for pid in pids:
            self.made.kill(pid)
        for pid in pids:
            wait_gone(pid)

    def reload(self):
        self.made.write_config(self.made.config)
        return self.made.cli("reload")


def test_reload_and_deaths(reeve):
    kept = Kept(reeve)
    made = kept.made
    made.start()
    kept.assert_kept()
    old = made.pids("web")
    made.config["services"]["web"]["environment"] = {"A": "b"}
    assert kept.reload().returncode == 0
    assert not set(old) & set(made.pids("web"))
    kept.assert_kept()
    master = made.master_pid()
    workers = made.pids("web")
    made.kill(master)
    made.wait_for_status(lambda now: now["master"]["pid"] != master)
    kept.assert_kept()
    keeper = made.keeper_pid()
    made.kill(keeper)
    made.wait_for_status(lambda now: now["keeper"]["pid"] != keeper)
    kept.assert_kept()
    assert made.pids("web") == workers  # They noticed none of it.
    # All that use it at once, the auditor too.
    for _ in range(3):
        kept.kill(made.pids("web") + made.pids("audit"))
        made.wait_ready()
        kept.assert_kept()
    kept.end()


def test_writers_die_in_the_middle(reeve):
    kept = Kept(reeve, workers=2)
    made = kept.made
    made.start()
    # Until enough of them died while they wrote; most do.
    while kept.counts()[2] < 25:
        kept.kill([random.choice(made.pids("web"))])
        made.wait_ready()
    kept.assert_kept()
    kept.end()


def grow(kept, resize):
    """In steps, each of which is filled: with what had no room before."""
    made = kept.made
    made.start()
    workers = made.pids()
    for mib in 16, 32, 64:
        done = resize(f"{mib}MiB")
        assert done.returncode == 0, done.stderr
        assert kept.zone()["size"] == mib * MIB
        kept.n_keys = mib * KEYS // 8
        assert kept.ask(f"more {kept.n_keys}") == "OK"
        kept.assert_kept()
    assert kept.zone()["memory_bytes"] > 24 * MIB
    assert made.pids() == workers  # Nobody had to map anything anew.
    kept.end()


def test_growth(reeve):
    kept = Kept(reeve)
    grow(kept, lambda size: kept.made.cli("zone", "resize", "z", size))


def test_growth_by_reload(reeve):
    kept = Kept(reeve)

    def resize(size):
        kept.made.config["zones"]["z"]["size"] = size
        return kept.reload()
    grow(kept, resize)


def test_a_file_through_stops_and_death_of_all(reeve, tmp_path):
    kept = Kept(reeve, file=str(tmp_path / "z.zone"))
    made = kept.made
    made.start()
    kept.assert_kept()
    assert made.stop() == 0
    made.start()
    kept.assert_kept()
    # Now nobody gets to do anything at the end.
    workers = made.pids("web") + made.pids("audit")
    made.kill_both()
    kept.kill(workers)
    made.close()
    made.start()
    kept.assert_kept()
    kept.end()


def test_what_fails_leaves_no_file(reeve, tmp_path):
    path = tmp_path / "new.zone"
    kept = Kept(reeve, workers=1)
    made = kept.made
    old = made.config["zones"]["z"]
    made.start()

    def reload(z, command):
        made.config["zones"] = {"new": {"size": "1MiB", "file": str(path)},
                                "z": dict(old, **z)}
        made.config["services"]["web"]["zones"] = ["z", "new"]
        made.config["services"]["web"]["command"] = command
        return kept.reload()

    good = made.config["services"]["web"]["command"]
    refused = reload({"tag": "other"}, good)
    assert refused.returncode == 1 and "other" in refused.stderr
    assert not path.exists()
    failed = reload({}, ["false"])
    assert failed.returncode == 1
    wait_until(lambda: not path.exists(), what="the file to go")
    # One that a configuration has had stays.
    assert reload({}, good).returncode == 0
    assert path.exists()
    assert reload({"tag": "other"}, good).returncode == 1
    assert reload({}, ["false"]).returncode == 1
    assert path.exists()
    kept.assert_kept()
    kept.end()
    assert path.exists()
