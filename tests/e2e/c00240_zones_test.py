"""Zones: memory that workers share, and that outlives each process."""
import copy
import os
import socket
import threading

from lib import paths
from lib.process import free_port, wait_gone, wait_until

REEVE_TEST = paths.BUILD / "tests" / "programs" / "reeve-test"
MIB = 1 << 20


def worker(port, zone="z", workers=2, use=None, **more):
    """A service whose workers do in `zone` what they are told."""
    arguments = ["read"] if isinstance(use, dict) else []
    return dict({"command": [str(REEVE_TEST), "test-zone", zone, *arguments],
                 "workers": workers, "ready": "notify", "batch": 1,
                 "zones": [use or zone], "listen": f"127.0.0.1:{port}",
                 "drain_timeout": "1s"}, **more)


def config(port, workers=2, **zone):
    return {"zones": {"z": dict({"size": "8MiB"}, **zone)},
            "services": {"web": worker(port, workers=workers)}}


class Client:
    """A connection to one of the workers."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.file = self.socket.makefile("rw", encoding="ascii")
        greeting = self.file.readline()
        if not greeting:
            raise ConnectionResetError("no greeting")
        self.pid = int(greeting)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def ask(self, line):
        self.file.write(line + "\n")
        self.file.flush()
        answer = self.file.readline()
        if not answer:
            raise ConnectionResetError(line)
        return answer.strip()


def ask(port, line):
    with Client(port) as client:
        return client.ask(line)


def numbers(port):
    """The two numbers, which are equal, and the bytes filled."""
    def get():
        try:
            return ask(port, "get")
        except ConnectionError:  # Accepted by one that was just killed.
            return None
    a, b, filled = map(int, wait_until(get, what="an answer").split())
    assert a == b
    return a, filled


def zone(made, name="z"):
    return next(z for z in made.status()["zones"] if z["name"] == name)


def reload(made, **zones):
    for name, keys in zones.items():
        made.config["zones"][name].update(keys)
    made.write_config(made.config)
    return made.cli("reload")


def test_survives_everything_but_a_stop(reeve, port):
    made = reeve(config(port))
    made.start()
    assert ask(port, "add 10") == "OK"
    made.config["services"]["web"]["environment"] = {"A": "b"}
    assert reload(made).returncode == 0
    assert numbers(port) == (10, 0)
    # A worker in the middle of transactions.
    for n in range(3):
        with Client(port) as client:
            assert client.ask("spin") == "spinning"
            made.kill(client.pid)
        assert numbers(port)[0] >= 10
        made.wait_ready()
    before = numbers(port)[0]
    master = made.master_pid()
    made.kill(master)
    wait_gone(master)
    made.wait_for_status(lambda now: now["master"]["pid"] != master)
    assert numbers(port)[0] == before
    assert ask(port, "add 5") == "OK"
    keeper = made.keeper_pid()
    made.kill(keeper)
    made.wait_for_status(lambda now: now["keeper"]["pid"] != keeper)
    assert numbers(port)[0] == before + 5
    # The new master gives it to new workers, too.
    assert made.cli("restart").returncode == 0
    assert numbers(port)[0] == before + 5
    assert zone(made)["services"] == ["web"]
    made.cli("stop", check=True)


class Adding:
    """Clients that add, and add again; all must succeed."""

    def __init__(self, port, n=2):
        self.port = port
        self.done = 0
        self.wrong = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._run) for _ in range(n)]

    def _run(self):
        while not self.stop.is_set():
            try:
                answer = ask(self.port, "add 200")
            except OSError as error:  # A worker that left: ask another one.
                answer = "OK" if isinstance(error, ConnectionError) else error
            else:
                self.done += 1
            if answer != "OK":
                self.wrong.append(answer)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def more(self, n=5):
        before = self.done
        wait_until(lambda: self.done >= before + n,
                   what="more adding")


def test_grows_under_load(reeve, port):
    made = reeve(config(port, max_size="64MiB"))
    made.start()
    assert ask(port, f"fill {16 * MIB}") == "ENOMEM"
    with Adding(port) as adding:
        adding.more()
        done = made.cli("zone", "resize", "z", "32MiB")
        assert done.returncode == 0, done.stderr
        assert "32MiB" in done.stdout
        assert ask(port, "size") == str(32 * MIB)
        assert ask(port, f"fill {24 * MIB}") == "OK"
        workers = made.pids()
        # As much as there is by now, or less: nothing becomes smaller.
        assert reload(made, z={"size": "16MiB"}).returncode == 0
        assert zone(made)["size"] == 32 * MIB
        done = reload(made, z={"size": "64MiB"})
        assert done.returncode == 0, done.stderr
        assert made.pids() == workers  # Nobody had to map anything anew.
        assert ask(port, f"fill {56 * MIB}") == "OK"
        adding.more()
    assert adding.wrong == []
    assert zone(made)["size"] == 64 * MIB
    assert zone(made)["memory_bytes"] > 56 * MIB
    done = made.cli("zone", "resize", "z", "65MiB")
    assert done.returncode == 1 and "64MiB" in done.stderr
    # Smaller, while something lies there, and when nothing does.
    done = made.cli("zone", "resize", "z", "8MiB")
    assert done.returncode == 1 and "in use" in done.stderr, done.stderr
    with Adding(port) as adding:
        workers = {}
        while len(workers) < 2:  # Each gives back what it has in its hands.
            client = Client(port)
            workers[client.pid] = client
            assert client.ask("empty") == "OK"
        for client in workers.values():
            client.__exit__()
        done = made.cli("zone", "resize", "z", "8MiB")
        assert done.returncode == 0, done.stderr
        adding.more()
    assert adding.wrong == []
    assert zone(made)["size"] == 8 * MIB
    assert zone(made)["memory_bytes"] < 14 * MIB
    assert ask(port, f"fill {16 * MIB}") == "ENOMEM"
    assert made.cli("zone", "check", "z").returncode == 0
    master = made.master_pid()
    made.kill(master)
    made.wait_for_status(lambda now: now["master"]["pid"] != master)
    assert zone(made)["size"] == 8 * MIB
    # The configuration says 64 MiB, so that is what a reload makes.
    assert made.cli("reload").returncode == 0
    assert ask(port, f"fill {16 * MIB}") == "OK"


def test_what_a_reload_refuses(reeve, port):
    made = reeve(config(port, tag="v1", max_size="16MiB"))
    made.start()
    assert ask(port, "add 3") == "OK"
    before = (made.pids(), zone(made))
    keys = dict(made.config["zones"]["z"])

    def refused(*parts, **changed):
        made.config["zones"]["z"] = dict(keys)
        done = reload(made, z=changed)
        assert done.returncode == 1, done.stdout
        for part in ('zone "z"', *parts):
            assert part in done.stderr
        assert (made.pids(), zone(made)) == before
        assert numbers(port) == (3, 0)

    refused('holds tag "v1"', 'says "v2"', "noreuse", tag="v2")
    refused("max_size of 16MiB", "8MiB", "another name", max_size="8MiB")
    refused("max_size of 16MiB", "32MiB", max_size="32MiB")
    refused("64 members", "65", members=65)
    refused("has 8MiB", "4MiB", "reeve zone resize z 4MiB", size="4MiB")
    refused("lies in memory", file=str(made.folder / "z.zone"))
    # What a worker breaks harms neither the master nor the next one.
    with open(made.cli("ctl", "zone/fd", "z").stdout.strip(), "r+b") as file:
        file.write(b"x")
    refused("not a zone", size="16MiB")
    master = made.master_pid()
    made.kill(master)
    made.wait_for_status(lambda now: now["master"]["pid"] != master)
    made.wait_ready()
    refused("not a zone", size="16MiB")
    # An empty one instead.
    made.config["zones"]["z"] = dict(keys)
    assert reload(made, z={"tag": "v2", "noreuse": True}).returncode == 0
    assert numbers(port) == (0, 0)
    assert zone(made)["tag"] == "v2"


def test_noreuse(reeve, port):
    made = reeve(config(port, noreuse=True))
    made.config["services"]["other"] = worker(free_port(), workers=1)
    made.config["zones"]["kept"] = {"size": "1MiB"}
    made.config["services"]["third"] = worker(free_port(), "kept", 1)
    made.write_config(made.config)
    made.start()
    third = made.pids("third")
    assert ask(port, "add 3") == "OK"
    made.config["services"]["third"]["nice"] = 1
    for _ in range(2):
        # All that have the zone roll, though only another one changed.
        pids = made.pids("web") + made.pids("other")
        made.config["services"]["third"]["nice"] += 1
        assert reload(made).returncode == 0
        assert not set(pids) & set(made.pids("web") + made.pids("other"))
        assert numbers(port) == (0, 0)
        assert ask(port, "add 3") == "OK"
    assert made.pids("third") != third
    # The zone stays with its generation.
    for pid in made.pids("web"):
        made.kill(pid)
    made.wait_ready()
    master = made.master_pid()
    made.kill(master)
    made.wait_for_status(lambda now: now["master"]["pid"] != master)
    for pid in made.pids("web"):
        made.kill(pid)
        wait_gone(pid)
    made.wait_ready()
    assert numbers(port) == (3, 0)
    # A generation that fails takes its zone with it.
    made.config["services"]["third"]["command"] = ["false"]
    assert reload(made).returncode == 1
    made.wait_ready()  # Without those that failed.
    assert numbers(port) == (3, 0)
    master = made.master_pid()
    made.kill(master)
    made.wait_for_status(lambda now: now["master"]["pid"] != master)
    assert made.cli("restart").returncode == 0
    assert numbers(port) == (3, 0)


def test_a_master_dies_while_a_fresh_zone_comes(reeve, port):
    made = reeve(config(port, noreuse=True))
    made.start()
    assert ask(port, "add 3") == "OK"
    old = made.pids()
    made.config["services"]["web"]["soak"] = "1h"
    made.config["zones"]["z"]["tag"] = "new"
    made.write_config(made.config)
    assert made.cli("reload", "--no-wait").returncode == 0
    made.wait_for_status(
        lambda now: now["services"][0]["candidates_ready"] >= 1)
    assert zone(made)["tag"] == ""
    master = made.master_pid()
    made.kill(master)
    made.wait_for_status(lambda now: now["master"]["pid"] != master)
    made.wait_ready()
    assert made.pids() == old
    assert zone_files(made) == {"z"} and zone(made)["tag"] == ""
    for pid in old:  # Those that replace them get the old one as well.
        made.kill(pid)
        wait_gone(pid)
    made.wait_ready()
    assert numbers(port) == (3, 0)


def zone_files(made):
    """The zones that the keeper or the master has open."""
    found = set()
    for pid in (made.keeper_pid(), made.master_pid()):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            try:
                name = os.readlink(f"/proc/{pid}/fd/{entry}")
            except FileNotFoundError:
                continue
            if "reeve-zone-" in name:
                found.add(name.split()[0].rsplit("reeve-zone-")[1])
    return found


def test_a_dropped_zone_goes(reeve, port):
    made = reeve(config(port, max_size="64MiB"))
    made.config["zones"]["other"] = {"size": "1MiB"}
    made.config["services"]["other"] = worker(free_port(), "other", 1)
    made.write_config(made.config)
    made.start()
    assert zone_files(made) == {"z", "other"}
    assert ask(port, f"fill {6 * MIB}") == "OK"
    with Client(port):
        del made.config["zones"]["z"]
        del made.config["services"]["web"]
        assert reload(made).returncode == 0
    assert [z["name"] for z in made.status()["zones"]] == ["other"]
    wait_until(lambda: zone_files(made) == {"other"},
               what="the zone to go")
    assert "zone z" not in made.cli("status").stdout


def test_two_services_share_and_one_only_reads(reeve, port):
    reader = free_port()
    made = reeve(config(port))
    made.config["services"]["reader"] = worker(
        reader, workers=1, use={"name": "z", "access": "read"})
    made.config["services"]["third"] = worker(free_port(), workers=1)
    made.config["services"]["reader"]["restart"] = "always"
    made.write_config(made.config)
    made.start(ready=False)
    made.wait_for_status(lambda now: all(
        s["ready"] == s["wanted"] for s in now["services"]), 20)
    assert ask(port, "add 7") == "OK"
    assert ask(reader, "get") == "7 7 0"
    assert ask(port, "protect") == "OK OK OK"
    assert ask(reader, "protect") == "EACCES EACCES EBADF"
    assert set(zone(made)["services"]) == {"web", "reader", "third"}
    port_of_third = int(made.config["services"]["third"]["listen"][10:])
    assert ask(port_of_third, "add 1") == "OK"
    assert ask(reader, "get") == "8 8 0"


def test_a_file_survives_stop_and_start(reeve, port):
    made = reeve(config(port, max_size="16MiB"))
    path = made.folder / "z.zone"
    made.config["zones"]["z"]["file"] = str(path)
    made.write_config(made.config)
    made.start()
    assert ask(port, "add 9") == "OK"
    assert path.stat().st_mode & 0o777 == 0o600
    # Nobody else takes it meanwhile.
    other = reeve(copy.deepcopy(made.config), name="other")
    other.config["services"]["web"]["listen"] = f"127.0.0.1:{free_port()}"
    other.write_config(other.config)
    other.start(ready=False)
    assert other.process.wait(20) == 1
    assert "another reeve" in other.output() and str(path) in other.output()
    for pid in made.pids():
        made.kill(pid)
    assert made.cli("zone", "resize", "z", "12MiB").returncode == 0
    assert made.stop() == 0
    made.start()
    assert numbers(port) == (9, 0)
    assert zone(made)["size"] == 12 * MIB and zone(made)["file"] == str(path)
    assert made.stop() == 0
    good = path.read_bytes()

    def refused(*parts):
        made.start(ready=False)
        assert made.process.wait(20) == 1
        for part in ('zone "z"', str(path), *parts):
            assert part in made.output(), made.output()

    made.config["zones"]["z"]["tag"] = "other"
    made.write_config(made.config)
    refused('holds tag ""')
    del made.config["zones"]["z"]["tag"]
    made.write_config(made.config)
    for damage, part in (
            (b"#!/bin/sh\nexit 0\n", "not a zone"),
            (b"\0" * len(good), "not a zone"),
            (good[:100] + b"x" + good[101:], "damaged"),
            (good[:len(good) // 2], "short")):
        path.write_bytes(damage)
        refused(part, "move it away")
        assert path.read_bytes() == damage
    path.unlink()
    os.mkfifo(path)
    refused("regular file")
    path.unlink()
    made.start()
    assert numbers(port) == (0, 0)


def test_what_people_see(reeve, port):
    made = reeve(config(port, tag="v1"))
    made.config["zones"]["empty"] = {"size": "1MiB"}
    made.write_config(made.config)
    made.start()
    assert ask(port, f"fill {MIB}") == "OK"
    text = made.cli("status").stdout
    assert "zone z: 8MiB of 8MiB" in text and "tag v1, for web" in text
    assert "zone empty: 1MiB of 1MiB" in text
    text = made.cli("zone", "list").stdout
    assert "8MiB" in text and "v1" in text and "empty" in text
    show = made.cli("zone", "show", "z")
    assert show.returncode == 0 and "OBJECTS" in show.stdout
    show = made.cli("zone", "show", "z", "--json")
    assert '"used_bytes": 1048672' in show.stdout, show.stdout
    picture = made.cli("zone", "map", "z").stdout
    assert picture.startswith("a") and "pages of runs" in picture
    assert len(picture.splitlines()[0]) == 64
    done = made.cli("zone", "check", "z")
    assert done.returncode == 0 and "whole" in done.stdout
    done = made.cli("zone", "show", "nothing")
    assert done.returncode == 1 and 'no zone "nothing"' in done.stderr
    assert made.cli("zone", "shew", "z").returncode == 64
    assert made.cli("zone", "resize", "z").returncode == 64
    # Damage is found, and told.
    with open(made.cli("ctl", "zone/fd", "z").stdout.strip(), "r+b") as file:
        file.seek(4160)  # How many pages the slab knows.
        file.write(b"\xff" * 64)
    done = made.cli("zone", "check", "z")
    assert done.returncode == 1 and 'zone "z": ' in done.stderr, done.stderr


def test_dict(reeve, port):
    made = reeve(config(port))
    made.start()

    def said(*arguments, status=0):
        done = made.cli("dict", *arguments)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stderr if status else done.stdout.rstrip("\n")

    assert "no dict" in said("z", "get", "hits", status=1)
    assert ask(port, "dict") == "OK"
    assert said("z", "get", "hits") == "1"
    assert said("z", "incr", "hits", "5") == "6"
    assert said("z", "incr", "hits", "--", "-2") == "4"
    assert ask(port, "dict") == "OK"
    assert said("z/z", "get", "hits") == "5"
    assert said("z", "ttl", "hits") == "for ever"
    said("z", "set", "name", "two words", "1h")
    assert said("z", "get", "name") == "two words"
    assert said("z", "ttl", "name").startswith("59m")
    long = "x" * 100000
    said("z", "set", "long", long)
    assert said("z", "get", "long") == long
    assert set(said("z", "keys").split()) == {"hits", "name", "long"}
    assert len(said("z", "keys", "1").split()) == 1
    said("z", "delete", "name")
    assert "no key" in said("z", "get", "name", status=1)
    assert "no key" in said("z", "ttl", "name", status=1)
    assert "entries: 2" in said("z", "stats")
    assert "no dict" in said("z/other", "stats", status=1)
    assert "no zone" in said("y", "stats", status=1)
    said("z", "put", "a", "b", status=64)
    said("z", "set", "a", "b", "soon", status=64)
    said("z", "incr", "hits", "many", status=64)
    assert made.cli("zone", "check", "z").returncode == 0


def test_the_command_gets_its_zone(reeve):
    made = reeve({"zones": {"a": {"size": "4KiB"}, "b": {"size": "4KiB"}},
                  "services": {"web": {
                      "command": ["sh", "-c", "echo $REEVE_ZONES {zone:b} $B;"
                                  "readlink /proc/self/fd/{zone:b}; exec "
                                  "sleep 100"],
                      "environment": {"B": "b={zone:a}{fd:web}{zone:"[:18]},
                      "ready_after": "10ms", "listen": 0,
                      "zones": ["a", {"name": "b", "access": "read"}]}}})
    made.start()
    made.wait_output("a=4,b=5 5 b=4")
    made.wait_output("reeve-zone-b")
