"""The commands on a running reeve: what they print and how they exit."""
import json
import os

import pytest

from lib import paths
from lib.process import wait_until


def web(port, workers=2, **more):
    return {"services": {"web": dict({
        "command": paths.EXAMPLES["c"], "workers": workers,
        "ready": "notify", "listen": f"127.0.0.1:{port}"}, **more)}}


def test_status(reeve, port):
    made = reeve(web(port, 2))
    made.start()
    status = made.status()
    assert status["keeper"]["pid"] == made.process.pid == made.keeper_pid()
    assert status["master"]["pid"] != status["keeper"]["pid"]
    assert status["master"]["restarts"] == 0
    service = status["services"][0]
    assert service["name"] == "web" and service["generation"] == 1
    assert [w["index"] for w in service["workers"]] == [0, 1]
    for worker in service["workers"]:
        assert worker["state"] == "ready" and worker["generation"] == 1
        assert worker["restarts"] == 0 and worker["memory_bytes"] > 0
        assert os.readlink(f"/proc/{worker['pid']}/exe").endswith(
            "example-server")
    text = made.cli("status").stdout
    for worker in service["workers"]:
        assert str(worker["pid"]) in text
    assert "web.0" in text and "web.1" in text and "ready" in text
    assert text.endswith("\n") and "\033" not in text
    assert json.loads(made.ctl("status", "--json"))["name"] == made.name


def test_exit_codes(reeve, port):
    made = reeve(web(port))
    for verb in ("status", "reload", "stop", "reopen", "dump", "logs"):
        done = made.cli(verb)
        assert done.returncode == 3, (verb, done)
        assert done.stderr.startswith("reeve: "), (verb, done)
    made.start()
    assert made.cli("status").returncode == 0
    for wrong in (["scale", "web"], ["scale"], ["status", "--nonsense"],
                  ["reload", "a", "b"], ["nonsense"],
                  ["reload", "-T", "soon"], ["status", "--now"]):
        done = made.cli(wrong[0], *wrong[1:])
        assert done.returncode == 64, (wrong, done)
    for failing in (["scale", "nobody", "2"], ["restart", "nobody"],
                    ["reload", "nobody"], ["scale", "web", "-1"],
                    ["scale", "web", "1000000"], ["ctl", "no-such-method"]):
        target = ["-t", made.name]
        done = made.cli(failing[0], *target, "--", *failing[1:],
                        target=False)
        assert done.returncode == 1, (failing, done)
        assert done.stderr
    assert made.cli("version", target=False).returncode == 0
    assert made.cli("--help", target=False).returncode == 0
    assert made.cli("help", "reload", target=False).returncode == 0
    assert made.cli("help", "nonsense", target=False).returncode == 64


def test_check(reeve, port):
    made = reeve(web(port))
    done = made.cli("check", "-c", made.config_path, target=False)
    assert done.returncode == 0 and "ok" in done.stdout
    made.write_config("services:\n  web:\n    command: x\n    workers: many\n"
                      "    redy: notify\n")
    done = made.cli("check", "-c", made.config_path, target=False)
    assert done.returncode == 78
    assert f"{made.config_path}:4:14:" in done.stderr
    assert f"{made.config_path}:5:5:" in done.stderr
    assert "did you mean `ready`" in done.stderr


def test_dump_is_a_fixed_point(reeve, port, tmp_path):
    made = reeve(web(port, environment={"A": "1 #", "B": "{fd:web}"},
                     backoff={"min": "7ms"}, stdout="file out.log"))
    first = made.cli("dump", "-c", made.config_path, target=False)
    assert first.returncode == 0, first.stderr
    again = tmp_path / "again" / "test.yaml"
    again.parent.mkdir()
    again.write_text(first.stdout, encoding="utf-8")
    second = made.cli("dump", "-c", again, target=False)
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout
    made.start()
    assert made.cli("dump").stdout == first.stdout


def test_logs(reeve, port):
    made = reeve(web(port, 1, command=[
        "sh", "-c", 'echo "hello from $REEVE_WORKER"; echo oops >&2; '
        'exec "$@"', "sh", *paths.EXAMPLES["c"]]))
    made.start()
    made.wait_output("oops")
    text = made.cli("logs").stdout
    assert "hello from 0" in text and "oops" in text
    assert "starts" in text  # What reeve itself says.
    only = made.cli("logs", "web.0").stdout.splitlines()
    assert [line for line in only if "hello from 0" in line]
    assert not [line for line in only if "starts" in line]
    assert len(made.cli("logs", "-n", "1").stdout.splitlines()) == 1
    # Only what is of the service: reeve's own lines begin otherwise.
    assert made.cli("logs", "web").stdout == "\n".join(only) + "\n"
    # Into a file, lines come as they were written.
    assert "hello from 0\n" in made.output()


def test_logs_of_what_is_not_there(reeve, port):
    config = web(port, 1)
    config["services"]["quiet"] = {"command": ["sleep", "1000"],
                                   "ready_after": "1ms"}
    config["services"]["gone"] = {
        "command": ["sh", "-c", "echo last words; exec sleep 1000"],
        "ready_after": "1ms"}
    made = reeve(config)
    made.start()
    made.wait_output("last words")
    for name in ("nope", "nope.0", "qui", "quiet.", "quiet.x", "2", ""):
        for more in ([], ["-f"], ["-n", "0"]):
            done = made.cli("logs", *more, name)
            assert done.returncode == 1 and done.stdout == "", (name, done)
            assert done.stderr == (f'reeve: there is no service "{name}"; '
                                   "there is web, quiet, gone\n")
    # One that says nothing is no error, nor is one that has said something.
    for name in ("quiet", "quiet.0", "quiet.7"):
        done = made.cli("logs", name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    del config["services"]["gone"]
    made.write_config(config)
    assert made.cli("reload").returncode == 0
    done = made.cli("logs", "gone")
    assert (done.returncode, done.stdout) == (0, "gone.0 | last words\n")
    assert made.cli("logs", "gone.1").returncode == 1
    assert made.stop() == 0


def test_scale(reeve, port):
    made = reeve(web(port, 2))
    made.start()
    first = made.pids()
    done = made.cli("scale", "web", "4")
    assert done.returncode == 0, done.stderr
    # Ready when the command returns; who was there has stayed.
    assert len(made.pids()) == 4 and set(first) < set(made.pids())
    assert made.service()["wanted"] == 4
    done = made.cli("scale", "web", "1")
    assert done.returncode == 0, done.stderr
    assert [w["index"] for w in made.workers()] == [0]
    assert made.pids() == first[:1]
    assert made.cli("scale", "web", "0").returncode == 0
    assert made.pids() == []
    assert made.cli("scale", "web", "2", "--no-wait").returncode == 0
    made.wait_ready()
    # A reload goes back to the file, which says 2.
    assert made.cli("scale", "web", "3").returncode == 0
    assert made.cli("reload").returncode == 0
    assert len(made.pids()) == 2
    assert made.stop() == 0


def test_restart(reeve, port):
    config = web(port, 2)
    config["services"]["other"] = {"command": ["sleep", "1000"],
                                   "ready_after": "10ms"}
    made = reeve(config)
    made.start()
    first, other = made.pids("web"), made.pids("other")
    done = made.cli("restart", "web")
    assert done.returncode == 0, done.stderr
    assert not set(first) & set(made.pids("web"))
    assert made.service("web")["generation"] == 2
    assert made.pids("other") == other
    assert made.cli("restart").returncode == 0
    assert made.pids("other") != other
    # What the file says meanwhile does not matter.
    made.write_config("services: [")
    made.config = config
    assert made.cli("restart", "web").returncode == 0
    assert made.service("web")["generation"] == 4
    assert made.stop() == 0


def test_reload_no_wait(reeve, port):
    made = reeve(web(port, 2))
    made.start()
    assert made.cli("reload", "--no-wait").returncode == 0
    made.wait_for_status(lambda now: now["services"][0]["generation"] == 2)
    made.wait_ready()
    assert made.stop() == 0


def test_timeout(reeve, port):
    """A command that waits ends by -T; what it began goes on."""
    made = reeve(web(port, 1))
    made.start()
    made.write_config(web(port, 1, command=["sleep", "100"]))
    done = made.cli("reload", "-T", "0.2")
    assert done.returncode == 1
    assert "no answer" in done.stderr
    assert made.status()["state"] == "rolling"
    # Superseded by one that works.
    made.write_config(web(port, 1))
    assert made.cli("reload").returncode == 0
    assert made.stop() == 0


def test_which_one(reeve, port):
    """Without -t the only one that runs is meant."""
    made = reeve(web(port, 1))
    made.start()
    done = made.cli("status", "--json", target=False)
    assert json.loads(done.stdout)["name"] == made.name
    done = made.cli("status", "-c", made.config_path, target=False)
    assert done.returncode == 0
    done = made.cli("status", "-t", made.control_path(), target=False)
    assert done.returncode == 0
    other = reeve({"services": {"job": {"command": ["sleep", "100"],
                                        "ready_after": "10ms"}}}, "other")
    other.environment["REEVE_RUNDIR"] = str(made.runtime_dir)
    other.runtime_dir = made.runtime_dir
    other.start()
    done = made.cli("status", target=False)
    assert done.returncode == 64 and "-t" in done.stderr
    assert other.stop() == 0


def test_reopen(reeve, port, tmp_path):
    out, log = tmp_path / "out.log", tmp_path / "reeve.log"
    config = web(port, 1, stdout=f"file {out}", command=[
        "sh", "-c", "trap 'echo again' USR2; echo first; "
        "$REEVE_EXECUTABLE notify READY=1; "
        "while :; do sleep 100 & wait $!; done"],
        drain_timeout="0")
    config["log"] = {"file": str(log)}
    made = reeve(config)
    made.start()
    wait_until(lambda: out.exists() and "first" in out.read_text())
    assert "starts" in log.read_text()
    out.rename(tmp_path / "out.old")
    log.rename(tmp_path / "log.old")
    assert made.cli("reopen").returncode == 0
    assert out.exists() and log.exists()
    made.kill(made.pids()[0], 12)
    wait_until(lambda: "again" in out.read_text())
    assert "again" not in (tmp_path / "out.old").read_text()
    # The same by signal.
    out.rename(tmp_path / "out.older")
    made.kill(made.keeper_pid(), 10)
    wait_until(out.exists)
    assert made.stop() == 0
    assert "ended" in log.read_text()


@pytest.mark.parametrize("to_master", [False, True])
def test_log_level(reeve, port, to_master):
    made = reeve(web(port, 1))
    made.start()
    target = made.control_path() if to_master else made.name
    done = made.cli("ctl", "-t", target, "vlog/set", "master:dbg",
                    target=False)
    assert done.returncode == 0, done.stderr
    done = made.cli("ctl", "-t", target, "list-commands", target=False)
    assert "vlog/set" in done.stdout and done.stdout.endswith("\n")
    assert made.stop() == 0
