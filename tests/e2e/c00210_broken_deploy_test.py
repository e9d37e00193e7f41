"""Broken deploys: the reload fails in time and says why, nobody loses a
request, no process is touched, and the next good reload works."""
import shutil
import time

import pytest

from lib import paths
from lib.load import Load

APP = paths.ROOT / "examples" / "python" / "app.py"

HANGS = """
import signal
print("waiting for a database that is not there", flush=True)
signal.pause()
"""

CRASHES_SOON = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
path = os.environ["NOTIFY_SOCKET"]
s.sendto(b"READY=1", "\\0" + path[1:] if path[0] == "@" else path)
print("no such table: users", flush=True)
sys.exit(9)
"""


def web(app, port, **more):
    return {"services": {"web": dict({
        "command": ["/usr/bin/python3", str(app)], "workers": 2,
        "ready": "notify", "start_timeout": "60s",
        "listen": f"127.0.0.1:{port}",
        "environment": {"DRAIN_IDLE_MS": "5000"}}, **more)}}


@pytest.fixture
def deployed(reeve, port, tmp_path):
    app = tmp_path / "app.py"
    shutil.copy(APP, app)
    made = reeve(web(app, port))
    made.app = app
    made.port = port
    return made


# Less than `start_timeout`: the reload ends with what fails, not with that.
AT_ONCE_S = 30


def assert_broken(made, says, **changes):
    """Reloads under load; what it said."""
    before = made.pids()
    if changes:
        made.write_config(web(made.app, made.port, **changes))
    with Load(made.port, connections=8, think_ms=5) as load:
        start = time.monotonic()
        done = made.cli("reload")
        took = time.monotonic() - start
        load.more(20)
        assert done.returncode == 1, done
        for text in says:
            assert text in done.stderr, (text, done.stderr)
        assert took < AT_ONCE_S, took
        assert made.pids() == before
        # The next good one works, under the same load.
        shutil.copy(APP, made.app)
        made.write_config(web(made.app, made.port))
        done = made.cli("reload")
        assert done.returncode == 0, done.stderr
        assert not set(made.pids()) & set(before)
        load.more(20)
    load.assert_nothing_lost()
    print(f"\nbroken deploy was reported after {took:.3f} s")


def test_syntax_error(deployed):
    deployed.start()
    text = deployed.app.read_text(encoding="utf-8")
    deployed.app.write_text(text + "\nthis is ] not Python\n",
                            encoding="utf-8")
    assert_broken(deployed, ["web.", "generation 2", "status 1",
                             "SyntaxError", "this is ] not Python"])


def test_hangs_at_start(deployed):
    deployed.start()
    deployed.app.write_text(HANGS, encoding="utf-8")
    assert_broken(deployed, ["web.", "start_timeout",
                             "waiting for a database"], start_timeout="2s")


def test_crashes_within_soak(deployed):
    deployed.start()
    deployed.app.write_text(CRASHES_SOON, encoding="utf-8")
    assert_broken(deployed, ["web.", "status 9", "no such table"],
                  soak="60s")


def test_program_is_missing(deployed):
    deployed.start()
    assert_broken(deployed, ["web.", "No such file"],
                  command=["/no/such/program"])


def test_program_may_not_be_run(deployed):
    deployed.start()
    assert_broken(deployed, ["web.", "Permission denied"],
                  command=[str(deployed.app)])


def test_directory_is_missing(deployed):
    deployed.start()
    assert_broken(deployed, ["web.", "directory"],
                  directory="/no/such/folder")


def test_one_of_batch_fails(deployed):
    deployed.start()
    deployed.app.write_text(CRASHES_SOON, encoding="utf-8")
    assert_broken(deployed, ["web.", "no such table"], batch=1,
                  soak="60s")


def test_one_of_two_services_fails(deployed, reeve):
    """A reload is one transaction: the good service is rolled back too."""
    config = web(deployed.app, deployed.port)
    config["services"]["good"] = {"command": ["sleep", "1000"],
                                  "ready_after": "20ms"}
    deployed.write_config(config)
    deployed.start()
    before = deployed.pids("web"), deployed.pids("good")
    config["services"]["good"]["command"] = ["sleep", "999"]
    config["services"]["web"]["command"] = ["false"]
    deployed.write_config(config)
    done = deployed.cli("reload")
    assert done.returncode == 1 and "web." in done.stderr
    assert before == (deployed.pids("web"), deployed.pids("good"))
    dump = deployed.cli("dump").stdout
    assert "1000" in dump and "999" not in dump


@pytest.mark.parametrize("text,where,says", [
    ("services:\n  web:\n    command: [x\n", ":", ""),
    ("services:\n  web:\n    comand: x\n", ":3:5:", "did you mean"),
    ("services:\n  web:\n    command: x\n    workers: -1\n", ":4:14:", ""),
    ("name: [\n", ":", ""),
    ("", ":", "services"),
    ("services: {}\n", ":1:", "service"),
])
def test_broken_yaml(deployed, text, where, says):
    deployed.start()
    before = deployed.pids()
    good = deployed.config
    deployed.config_path.write_text(text, encoding="utf-8")
    done = deployed.cli("reload")
    assert done.returncode in (1, 78), done
    assert f"{deployed.config_path}{where}" in done.stderr, done.stderr
    assert says in done.stderr
    assert deployed.pids() == before
    assert deployed.service()["generation"] == 1
    deployed.write_config(good)
    assert deployed.cli("reload").returncode == 0


def test_file_is_gone(deployed):
    deployed.start()
    before = deployed.pids()
    deployed.config_path.unlink()
    done = deployed.cli("reload")
    assert done.returncode in (1, 78)
    assert str(deployed.config_path) in done.stderr
    assert deployed.pids() == before
