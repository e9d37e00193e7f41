"""Our session against ovsdb-server and against Python's ovs."""
import itertools
import json
import threading
import time

import pytest

from lib.ovsdb import Certificates, Database, PythonSession, Session
from lib.process import free_port, wait_until

SCHEMA = {"name": "d", "version": "1.0.0", "tables": {
    "counter": {"isRoot": True, "columns": {"value": {"type": "integer"}}},
    "entry": {"isRoot": True, "columns": {"number": {"type": "integer"}}},
    "root": {"isRoot": True, "columns": {"remotes": {"type": {
        "key": {"type": "uuid", "refTable": "remote"}, "min": 0,
        "max": "unlimited"}}}},
    "remote": {"columns": {
        "target": {"type": "string"},
        "inactivity_probe": {"type": {"key": "integer", "min": 0,
                                      "max": 1}}}}}}
TRANSPORTS = ["unix", "tcp", "ssl"]
# Short waits, and more patience for one try than the machine has at first.
QUICK = ["--first-backoff", 20, "--connect-timeout", 10000]


def place(tmp_path, transport):
    """(the passive remote, its options, our remote, our options)"""
    if transport == "unix":
        path = tmp_path / "sock"
        return f"punix:{path}", [], f"unix:{path}", []
    port = free_port()
    if transport == "tcp":
        return f"ptcp:{port}:127.0.0.1", [], f"tcp:127.0.0.1:{port}", []
    made = Certificates(tmp_path / "certificates")
    return (f"pssl:{port}:127.0.0.1", made.options("server"),
            f"ssl:127.0.0.1:{port}", made.options("client"))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ovsdb_server(tmp_path, transport):
    passive, theirs, remote, ours = place(tmp_path, transport)
    with Database(tmp_path / "db", SCHEMA, [passive], theirs), \
            Session(*QUICK, *ours, remote) as session:
        session.expect("connected 1 ")
        assert "d" in session.call("list_dbs")
        schema = session.call("get_schema", ["d"])
        assert schema["tables"].keys() == SCHEMA["tables"].keys()
        assert session.call("echo", ["x", 1]) == ["x", 1]
        assert session.call("monitor", ["d", "m", {
            "entry": {"columns": ["number"]}}]) == {}
        number = session.send("call", "transact", ["d", {
            "op": "insert", "table": "entry", "row": {"number": 7}}])
        # The server tells a monitor before it answers.
        update = session.expect(r"notification update (.*)")
        assert json.loads(update[1])[0] == "m"
        assert '"number":7' in update[1]
        result = json.loads(session.expect(f"reply {number} (.*)")[1])
        assert "uuid" in result[0]
        number = session.send("call", "no-such-method")
        session.expect(f"error {number} ")
        status = session.status()
        assert status["state"] == "ACTIVE" and status["calls"] == 0
        assert status["attempted"] >= status["successful"] == 1


def wait_log(database, text, count=1):
    wait_until(lambda: database.log().count(text) >= count, 20,
               f"{count} times {text!r}", database.process)


def test_probes_of_both_sides(tmp_path):
    """Each probes the other a second after its last word."""
    port = free_port()
    path = tmp_path / "sock"
    with Database(tmp_path / "db", SCHEMA,
                  [f"punix:{path}", "db:d,root,remotes"],
                  ["-vreconnect:console:dbg"]) as database, \
            Session(*QUICK, f"unix:{path}") as first:
        first.expect("connected 1 ")
        first.call("transact", ["d", {
            "op": "insert", "table": "remote", "uuid-name": "r",
            "row": {"target": f"ptcp:{port}:127.0.0.1",
                    "inactivity_probe": 1000}}, {
            "op": "insert", "table": "root",
            "row": {"remotes": ["named-uuid", "r"]}}])
        with Session(*QUICK, "--probe-interval", 0,
                     f"tcp:127.0.0.1:{port}") as silent, \
                Session(*QUICK, "--probe-interval", 1000, "--verbose",
                        f"unix:{path}") as asking:
            silent.expect("connected 1 ")
            asking.expect("connected 1 ")
            asking.expect("log dbg .*probing", in_order=True)
            asking.expect("log dbg .*entering ACTIVE")
            wait_log(database, "sending inactivity probe", 2)
            assert silent.call("echo", [1]) == [1]
            for session in (silent, asking):
                assert session.status()["seqno"] == 1


class Writer:
    """Appends numbers to the database, through the deaths of its server."""

    PER_ROUND = 20

    def __init__(self, session):
        self.session = session
        self.numbers = itertools.count()
        self.sent = {}      # Of a call: the number that it appends.

    def prepare(self):
        self.session.call("transact", ["d", {
            "op": "insert", "table": "counter", "row": {"value": 0}}])

    def watch(self):
        """What the database holds, by a monitor: (counter, numbers)."""
        tables = self.session.call("monitor", ["d", None, {
            "counter": {"columns": ["value"]},
            "entry": {"columns": ["number"]}}])
        [counter] = [row["new"]["value"]
                     for row in tables["counter"].values()]
        return counter, [row["new"]["number"]
                         for row in tables.get("entry", {}).values()]

    def append(self):
        number = next(self.numbers)
        call = self.session.send("call", "transact", ["d", {
            "op": "mutate", "table": "counter", "where": [],
            "mutations": [["value", "+=", 1]]}, {
            "op": "insert", "table": "entry", "row": {"number": number}}])
        if call is not None:
            self.sent[call] = number
        return call

    def check(self, counter, numbers):
        """Holds what the database has against what we were told."""
        outcomes = self.session.outcomes()
        present = set(numbers)
        assert counter == len(numbers) == len(present)
        for call, number in self.sent.items():
            [(kind, text)] = outcomes[call]
            if kind == "reply":
                assert '"error"' not in text, text
                assert number in present, f"{number} was reported, but lost"
            else:
                assert (kind, text) == ("lost", "ECONNRESET")
        assert present <= set(self.sent.values())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_through_kills_of_the_server(tmp_path, transport):
    """20 times kill -9 under transactions; nothing is reported as done that
    was not, and nothing is answered twice."""
    passive, theirs, remote, ours = place(tmp_path, transport)
    database = Database(tmp_path / "db", SCHEMA, [passive], theirs)
    with database, Session(*QUICK, *ours, remote) as session:
        session.expect("connected ")
        writer = Writer(session)
        writer.prepare()
        for i in range(20):
            # A connection that has not lasted for the wait that it took
            # doubles the next.
            end = time.monotonic() + session.status()["backoff"] / 1000
            while True:
                call = writer.append()
                session.expect(f"reply {call} ")
                if time.monotonic() > end:
                    break
            # The kill falls among the replies to these.
            killer = threading.Thread(target=database.kill)
            for j in range(writer.PER_ROUND):
                if j == i:
                    killer.start()
                writer.append()
            killer.join()
            session.expect("disconnected ")
            database.start()
            session.expect("connected ")
            _, numbers = held = writer.watch()
            writer.check(*held)
        assert len(numbers) >= 20
        status = session.status()
        assert status["calls"] == 0 and status["seqno"] == 41
        assert status["successful"] == 21


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_python_passive(tmp_path, transport):
    """Ours connects to Python's."""
    passive, _, remote, _ = place(tmp_path, transport)
    if transport == "tcp":
        # Python's listens on ptcp:IP:PORT, where all others have the port
        # first.
        passive = "p" + remote
    with PythonSession(passive) as python, \
            Session(*QUICK, "--probe-interval", 1000, "--verbose",
                    remote) as session:
        session.expect("connected 1 ")
        talk(python, session)
        session.expect("log dbg .*probing", in_order=True)
        session.expect("log dbg .*entering ACTIVE")
        # Another of ours takes the place of the first.
        with Session(*QUICK, "--gives-up", remote) as second:
            second.expect("connected 1 ")
            session.expect("disconnected 2 ")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_python_active(tmp_path, transport):
    """Python's connects to ours."""
    passive, theirs, remote, ours = place(tmp_path, transport)
    arguments = [word.partition("=")[2] for word in ours]
    with Session(*theirs, "--verbose", passive) as session:
        session.expect("log info .*listening")
        with PythonSession(remote, 1000, *arguments) as python:
            session.expect("connected 1 ")
            talk(python, session)
            python.say("reconnect")
            session.expect("disconnected 2 ")
            session.expect("connected 3 ")
            python.expect("connected")
        # Over TLS it leaves without a word.
        session.expect("disconnected 4 (0|ECONNRESET) ")


def test_python_active_to_an_adopted_stream(tmp_path):
    passive, _, remote, _ = place(tmp_path, "tcp")
    with Session("--adopt", "--probe-interval", 1000, "--verbose",
                 passive) as session, PythonSession(remote) as python:
        session.expect("connected 1 ")
        talk(python, session)
        session.expect("log dbg .*probing", in_order=True)
        session.expect("log dbg .*entering ACTIVE")
        python.close()
        session.expect("disconnected 2 0 ")
        session.expect("ended 0 ")


def talk(python, session):
    """Requests, replies, errors and notifications both ways."""
    python.expect("connected")
    assert session.call("add", [1, 2, 3]) == 6
    assert session.call("echo", [{"x": None}]) == [{"x": None}]
    number = session.send("call", "fail")
    assert session.expect(f"error {number} (.*)")[1] == '{"no":"fail"}'
    session.send("notify", "n", ["ä"])
    assert python.expect("notification n (.*)")[1] == json.dumps(["ä"])
    python.say('call echo ["y"]')
    assert python.expect("reply (.*)")[1] == '["y"]'
    for command, kind in (("answer", "reply"), ("refuse", "error")):
        python.say('call ask [1]')
        number = session.expect(r"request (\S+) ask \[1\]")[1]
        session.say(f'{command} {number} {{"z":1.5}}')
        session.expect("sent ")
        assert python.expect(f"{kind} (.*)")[1] == '{"z": 1.5}'
