"""Open vSwitch's own clients against reeve, and ours against its servers."""
import os
import shutil
import subprocess

import pytest

from lib import paths
from lib.load import Load
from lib.process import SOON_S, free_port, is_listening, wait_until


@pytest.fixture
def made(reeve, port):
    made = reeve({"services": {"web": {
        "command": paths.EXAMPLES["c"], "workers": 2, "ready": "notify",
        "listen": f"127.0.0.1:{port}"}}}).start()
    made.port = port
    yield made
    assert made.stop() == 0


def appctl(made, *arguments, target=None):
    if not shutil.which("ovs-appctl"):
        pytest.skip("no ovs-appctl here")
    return subprocess.run(
        ["ovs-appctl", "-t", str(target or made.control_path()), *arguments],
        env=dict(os.environ, OVS_RUNDIR=str(made.runtime_dir)), text=True,
        capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("by", ["path", "name"])
def test_ovs_appctl(made, by):
    target = made.control_path() if by == "path" else "test"

    def ask(*arguments):
        done = appctl(made, *arguments, target=target)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout == "" or (done.stdout.endswith("\n")
                                     and not done.stdout.endswith("\n\n"))
        return done.stdout
    listed = ask("list-commands")
    assert listed.startswith("The available commands are:\n")
    for command in ("status", "reload", "stop", "scale", "version",
                    "vlog/list", "vlog/set", "list-commands"):
        assert f"\n  {command} " in listed, listed
    assert ask("help") == listed
    assert ask("version").startswith("reeve (reeve) ")
    status = ask("status")
    assert all(str(pid) in status for pid in made.pids()), status
    before = made.pids()
    with Load(made.port, connections=4) as load:
        assert "rolled" in ask("reload")
    load.assert_nothing_lost()
    assert made.pids() != before
    assert ask("vlog/list").splitlines()[2].split() != []
    ask("vlog/set", "master:dbg")
    levels = [line.split() for line in ask("vlog/list").splitlines()]
    assert [line for line in levels if line and line[0] == "master"
            and any(word.lower() == "dbg" for word in line)], levels
    ask("vlog/set", "ANY:ANY:info")
    ask("scale", "web", "3")
    assert len(made.pids()) == 3


def test_ovs_appctl_errors_are_those_of_a_vswitch(made):
    target = made.control_path()
    for arguments, text in [
            (("no-such",), '"no-such" is not a valid command (use '
             '"list-commands" to see a list of valid commands)'),
            (("scale", "web"), '"scale" command requires at least 2 '
             'arguments'),
            (("reopen", "x"), '"reopen" command takes at most 0 arguments'),
            (("scale", "no-such", "1"), 'there is no service "no-such"'),
            (("vlog/set", "nonsense:dbg"), None)]:
        done = appctl(made, *arguments)
        assert done.returncode == 2, done
        said = done.stderr.splitlines()
        assert said[-1] == f"ovs-appctl: {target}: server returned an error"
        if text is not None:
            assert said[0] == text, said
    done = appctl(made, "version", target=made.runtime_dir / "none.ctl")
    assert done.returncode == 1


def test_ovs_appctl_stop(reeve):
    made = reeve({"services": {"web": {"command": "sleep 600",
                                       "ready_after": "1ms"}}}).start()
    assert appctl(made, "exit").returncode == 0
    assert made.process.wait(SOON_S) == 0


def test_python_client(made):
    code = """
import sys
import ovs.unixctl.client
error, client = ovs.unixctl.client.UnixctlClient.create(sys.argv[1])
assert not error, error
for command, arguments in (("list-commands", []), ("version", []),
                           ("status", []), ("reload", []),
                           ("vlog/set", ["master:dbg"]), ("vlog/list", [])):
    code, failure, result = client.transact(command, arguments)
    assert not code and failure is None, (command, code, failure)
    print(result, end="")
code, failure, result = client.transact("no-such", [])
assert not code and "is not a valid command" in failure, (code, failure)
code, failure, result = client.transact("scale", ["web"])
assert not code and "requires at least 2" in failure, (code, failure)
client.close()
"""
    if subprocess.run(["/usr/bin/python3", "-c", "import ovs.unixctl.client"],
                      capture_output=True, check=False).returncode:
        pytest.skip("no python3-openvswitch here")
    done = subprocess.run(
        ["/usr/bin/python3", "-c", code, str(made.control_path())],
        capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "reeve (reeve)" in done.stdout and "list-commands" in done.stdout


@pytest.fixture
def database(tmp_path):
    """An ovsdb-server, started by hand; its control socket."""
    for program in ("ovsdb-server", "ovsdb-tool"):
        if not shutil.which(program):
            pytest.skip(f"no {program} here")
    schema = tmp_path / "schema"
    schema.write_text('{"name":"d","version":"1.0.0","tables":{"t":{'
                      '"columns":{"c":{"type":"string"}}}}}')
    subprocess.run(["ovsdb-tool", "create", tmp_path / "db", schema],
                   check=True)
    run = tmp_path / "ovs"
    run.mkdir()
    path = run / "db.ctl"
    server = subprocess.Popen(
        ["ovsdb-server", str(tmp_path / "db"), f"--unixctl={path}",
         "--remote=punix:" + str(run / "db.sock"), "--no-chdir",
         f"--pidfile={run}/ovsdb-server.pid"],
        stderr=subprocess.DEVNULL, env=dict(os.environ, OVS_RUNDIR=str(run)))
    try:
        wait_until(lambda: is_listening(path), what="ovsdb-server",
                   process=server)
        yield path
    finally:
        if server.poll() is None:
            server.terminate()
        server.wait(SOON_S)


def test_our_client_against_ovsdb_server(reeve, database):
    made = reeve()

    def ctl(*arguments):
        return made.cli("ctl", "-t", database, *arguments, target=False)
    version = ctl("version")
    assert version.returncode == 0, version.stderr
    assert version.stdout.startswith("ovsdb-server (Open vSwitch) ")
    assert version.stdout.endswith("\n")
    listed = ctl("list-commands")
    assert "ovsdb-server/list-dbs" in listed.stdout
    if shutil.which("ovs-appctl"):
        theirs = subprocess.run(
            ["ovs-appctl", "-t", str(database), "list-commands"], text=True,
            capture_output=True, check=True)
        assert listed.stdout == theirs.stdout
    assert "d\n" in ctl("ovsdb-server/list-dbs").stdout
    done = ctl("no-such")
    assert done.returncode == 1 and "is not a valid command" in done.stderr
    done = ctl("vlog/set")
    assert done.returncode in (0, 1)
    assert ctl("vlog/set", "ANY:file:dbg").returncode == 0
    assert "DBG" in ctl("vlog/list").stdout
    done = ctl("exit")
    assert done.returncode == 0, done.stderr


def test_ovsdb_server_as_a_worker(reeve, tmp_path):
    """An Open vSwitch daemon under reeve, in the foreground."""
    if not shutil.which("ovsdb-server"):
        pytest.skip("no ovsdb-server here")
    run = tmp_path / "ovs"
    run.mkdir()
    schema = tmp_path / "schema"
    schema.write_text('{"name":"d","version":"1.0.0","tables":{"t":{'
                      '"columns":{"c":{"type":"string"}}}}}')
    subprocess.run(["ovsdb-tool", "create", tmp_path / "db", schema],
                   check=True)
    port = free_port()
    made = reeve({"services": {"db": {
        "command": ["ovsdb-server", str(tmp_path / "db"),
                    f"--unixctl={run}/db.ctl",
                    f"--remote=ptcp:{port}:127.0.0.1", "--no-chdir"],
        "ready_after": "100ms",
        "environment": {"OVS_RUNDIR": str(run)}}}}).start()
    wait_until(lambda: is_listening(run / "db.ctl"))
    done = made.cli("ctl", "-t", run / "db.ctl", "version", target=False)
    assert done.returncode == 0 and "ovsdb-server" in done.stdout
    made.kill(made.pids()[0])
    made.wait_output("was killed by signal 9")
    made.wait_ready()
    assert made.stop() == 0
