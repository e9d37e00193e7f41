"""`reeve ctl` against the daemons of Open vSwitch, by every kind of target."""
import json
import os
import shutil
import socket
import subprocess

import pytest

from lib import paths
from lib.process import SOON_S, is_listening, wait_until

TITLE = "The available commands are:\n"


def start(command, ctl, rundir):
    """Starts a daemon of Open vSwitch by hand, until its socket is there."""
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} here")
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, cwd=rundir,
        env=dict(os.environ, OVS_RUNDIR=str(rundir), OVS_DBDIR=str(rundir),
                 OVS_LOGDIR=str(rundir)))
    wait_until(lambda: any(map(is_listening, rundir.glob(ctl))),
               what=command[0], process=process)
    return process


def end(process):
    if process.poll() is None:
        process.terminate()
    process.wait(SOON_S)


@pytest.fixture
def rundir(tmp_path):
    folder = tmp_path / "ovs"
    folder.mkdir()
    return folder


@pytest.fixture
def database(rundir):
    """An ovsdb-server with a pidfile and a socket of the default name."""
    process = start(["ovsdb-server", "--no-db", "--no-chdir", "--pidfile"],
                    "ovsdb-server.*.ctl", rundir)
    yield process
    end(process)


def ctl(target, *arguments, rundir=None, options=(), **environment):
    """`reeve ctl`, with nothing of the environment but what is given."""
    clean = {name: value for name, value in os.environ.items()
             if name not in ("REEVE_RUNDIR", "OVS_RUNDIR")}
    if rundir:
        clean["OVS_RUNDIR"] = str(rundir)
    clean.update(environment)
    return subprocess.run(
        [str(paths.REEVE), "ctl", *options, "-t", str(target), *arguments],
        env=clean, text=True, capture_output=True, timeout=60, check=False)


def appctl(target, *arguments, rundir=None):
    if not shutil.which("ovs-appctl"):
        pytest.skip("no ovs-appctl here")
    return subprocess.run(
        ["ovs-appctl", "-t", str(target), *arguments], text=True,
        env=dict(os.environ, OVS_RUNDIR=str(rundir)), capture_output=True,
        timeout=60, check=False)


def test_targets(database, rundir, tmp_path):
    path = rundir / f"ovsdb-server.{database.pid}.ctl"
    pidfile = rundir / "ovsdb-server.pid"
    theirs = appctl("ovsdb-server", "list-commands", rundir=rundir)
    assert theirs.stdout.startswith(TITLE)
    (tmp_path / "empty").mkdir()
    for target, environment in [
            (path, {}), (pidfile, {}),
            ("ovsdb-server", {"rundir": rundir}),
            ("ovsdb-server.pid", {"rundir": rundir}),
            ("ovsdb-server", {"REEVE_RUNDIR": str(rundir)}),
            # Not in reeve's folder, but in Open vSwitch's.
            ("ovsdb-server", {"REEVE_RUNDIR": str(tmp_path / "empty"),
                              "rundir": rundir})]:
        done = ctl(target, "list-commands", **environment)
        assert (done.returncode, done.stderr) == (0, ""), (target, done)
        assert done.stdout == theirs.stdout


def test_targets_that_are_not_there(database, rundir, tmp_path):
    done = ctl("no-such", "version", rundir=rundir)
    assert done.returncode == 3
    assert f"there is no {rundir}/no-such.pid" in done.stderr
    done = ctl(tmp_path / "no.pid", "version")
    assert done.returncode == 3 and "no.pid" in done.stderr
    done = ctl(tmp_path / "no.ctl", "version")
    assert done.returncode == 3
    # Left behind by a process that is gone.
    database.kill()
    database.wait(SOON_S)
    for target in (rundir / "ovsdb-server.pid", "ovsdb-server"):
        done = ctl(target, "version", rundir=rundir)
        assert done.returncode == 3 and "left behind" in done.stderr
    done = ctl(rundir / f"ovsdb-server.{database.pid}.ctl", "version")
    assert done.returncode == 3


def test_errors_are_theirs(database, rundir):
    for arguments in (["no-such"], ["list-commands", "x"],
                      ["ovsdb-server/add-db"], ["vlog/set", "x:y:z"]):
        theirs = appctl("ovsdb-server", *arguments, rundir=rundir)
        done = ctl("ovsdb-server", *arguments, rundir=rundir)
        assert theirs.returncode == 2 and done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == "reeve: " + theirs.stderr.splitlines(True)[0]


def test_silent_server(tmp_path):
    path = tmp_path / "silent.ctl"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        done = ctl(path, "version", options=["-T", "200ms"])
        assert done.returncode == 1 and "no answer in time" in done.stderr


def test_vswitchd(rundir):
    """The other daemon; its database is empty, as nobody needs it here."""
    schema = "/usr/share/openvswitch/vswitch.ovsschema"
    if not os.path.exists(schema) or not shutil.which("ovsdb-tool"):
        pytest.skip("no schema of a vswitch here")
    subprocess.run(["ovsdb-tool", "create", rundir / "conf.db", schema],
                   check=True)
    server = start(["ovsdb-server", rundir / "conf.db", "--pidfile",
                    "--no-chdir", "--remote=punix:db.sock"],
                   "ovsdb-server.*.ctl", rundir)
    try:
        switch = start(["ovs-vswitchd", "unix:db.sock", "--pidfile",
                        "--no-chdir", "--disable-system"],
                       "ovs-vswitchd.*.ctl", rundir)
        try:
            done = ctl("ovs-vswitchd", "version", rundir=rundir)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("ovs-vswitchd (Open vSwitch) ")
            for command in ("vlog/list", "coverage/show", "memory/show"):
                done = ctl("ovs-vswitchd", command, rundir=rundir)
                assert done.returncode == 0, done.stderr
            assert ctl("ovs-vswitchd", "exit", rundir=rundir).returncode == 0
            assert switch.wait(SOON_S) == 0
        finally:
            end(switch)
    finally:
        end(server)


def test_json_as_appctl_asks_for_it(reeve):
    """What ovs-appctl of 3.4 and later sends for `-f json`."""
    made = reeve({"services": {"web": {"command": "sleep 600",
                                       "ready_after": "1ms"}}}).start()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(made.control_path()))

        def ask(number, method, *params):
            connection.sendall(json.dumps(
                {"id": number, "method": method,
                 "params": params}).encode())
            answer = b""
            while True:
                answer += connection.recv(65536)
                try:
                    return json.loads(answer)
                except ValueError:
                    assert answer
        plain = {"reply-format": "plain", "reply": ""}
        assert ask(0, "set-options", "--format", "json") == {
            "id": 0, "result": plain, "error": None}
        listed = ask(1, "list-commands")["result"]
        assert listed["set-options"] == "[--format text|json]"
        assert "help" not in listed
        version = ask(2, "version")["result"]
        assert version["reply-format"] == "plain"
        assert version["reply"].startswith("reeve (reeve) ")
        assert "yaml" in ask(3, "set-options", "--format", "yaml")["error"]
        assert "at least 1" in ask(4, "set-options")["error"]
        assert ask(5, "no-such")["error"].startswith('"no-such" is not a ')
        # Two at once are answered in order.
        connection.sendall(b'{"id":6,"method":"version","params":[]}'
                           b'{"id":7,"method":"version","params":[]}')
        answers = b""
        while answers.count(b'"id"') < 2:
            answers += connection.recv(65536)
        assert answers.index(b'"id":6') < answers.index(b'"id":7')
    assert made.stop() == 0
