"""A worker that writes over its zone harms what lies there, and nobody."""
import os
import re
import signal

import pytest

from c00240_zones_test import Client, config
from lib.process import wait_gone

USES = ("add 2", "dict", "queue", "metrics", "fill 262144", "empty", "get")
AREAS = ("header", "roots", "map", "lives", "members", "pages", "states",
         "heap", "dict")


def two_clients(port):
    """Connections to both workers: each serves one at a time."""
    return Client(port), Client(port)


def mappings_of(pid):
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        return [line for line in maps if "reeve-zone" in line]


def expect_an_answer(client, line):
    """Whatever it says, it says it: OK, numbers, or the name of an error."""
    answer = client.ask(line)
    assert re.fullmatch(r"OK|E[A-Z0-9]+|[0-9 ]+|[A-Z][a-z].*", answer), answer
    return answer


@pytest.mark.parametrize("area", AREAS)
def test_scribbles(reeve, port, area):
    made = reeve(config(port))
    made.start()
    wild, other = two_clients(port)
    for client in (wild, other):
        for line in USES:
            assert client.ask(line) == "OK" or line == "get"
    assert made.cli("zone", "check", "z").returncode == 0
    pids = sorted(made.pids())
    assert sorted((wild.pid, other.pid)) == pids
    assert wild.ask(f"scribble-{area} 7") == "OK"
    for client in (other, wild):
        for line in (*USES, "heal"):
            expect_an_answer(client, line)
    # It is found out, by who only looks; and nobody went.
    done = made.cli("zone", "check", "z")
    assert done.returncode == 1, done.stdout
    assert 'zone "z": ' in done.stderr, done.stderr
    for command in (("zone", "list"), ("zone", "show", "z"),
                    ("zone", "map", "z"), ("status",),
                    ("dict", "z", "get", "hits"), ("dict", "z", "keys"),
                    ("dict", "z", "stats")):
        assert made.cli(*command).returncode in (0, 1), command
    assert sorted(made.pids()) == pids
    # The master and the keeper have it open, and never mapped.
    for pid in (made.master_pid(), made.keeper_pid()):
        assert mappings_of(pid) == []
    # What dies there is buried, or stays, but hurts no one.
    made.kill(wild.pid)
    wait_gone(wild.pid)
    expect_an_answer(other, "heal")
    expect_an_answer(other, "add 2")
    assert other.pid in made.pids()
    wild.__exit__()
    other.__exit__()


def test_the_master_never_waits(reeve, port):
    """Whatever a worker holds locked, the master does its work."""
    made = reeve(config(port, max_size="16MiB"))
    made.start()
    wild, other = two_clients(port)
    assert wild.ask("hold") == "OK"
    os.kill(wild.pid, signal.SIGSTOP)
    try:
        done = made.cli("ctl", "zone/resize", "z", "12MiB")
        assert done.returncode == 0, done.stderr
        for command in (("status",), ("zone", "show", "z"),
                        ("zone", "map", "z"), ("zone", "check", "z")):
            done = made.cli(*command)
            assert done.returncode == 0, done.stderr
        for pid in (made.master_pid(), made.keeper_pid()):
            assert mappings_of(pid) == []
    finally:
        os.kill(wild.pid, signal.SIGCONT)
    assert other.ask("size") == str(12 << 20)
    wild.__exit__()
    other.__exit__()
