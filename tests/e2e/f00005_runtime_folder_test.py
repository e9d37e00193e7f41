"""The runtime folder, pidfiles, and a second reeve of the same name."""
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from lib import paths
from lib.load import Load
from lib.process import SOON_S, is_running, marked, wait_gone, wait_until

FAILED = 1
SLEEP = {"services": {"web": {"command": "sleep 600", "ready_after": "1ms"}}}


def attempt(made, verb="run", prefix=()):
    return subprocess.run(
        [*prefix, str(paths.REEVE), verb, "-c", str(made.config_path)],
        env=made.environment, cwd="/", stdin=subprocess.DEVNULL, text=True,
        capture_output=True, timeout=60, check=False)


def assert_refused(made, *parts, **options):
    for verb in ("run", "start"):
        done = attempt(made, verb, **options)
        said = done.stdout + done.stderr
        assert done.returncode == FAILED, (verb, said)
        for part in parts:
            assert part in said, said
    assert not [p for p in marked(made.marker)
                if p not in (made.process and [made.process.pid] or [])
                ] or made.process


def test_too_long(reeve):
    made = reeve(SLEEP)
    made.environment["REEVE_RUNDIR"] = "/tmp/" + "x" * 300
    assert_refused(made, "longer than", "runtime_dir")
    # Short enough for a folder, too long for a socket in it.
    folder = made.folder / ("y" * 100)
    folder.mkdir()
    made.environment["REEVE_RUNDIR"] = str(folder)
    assert_refused(made, "control socket's path", "runtime_dir")
    assert not list(folder.glob("*.pid")) and not list(folder.glob("*.ctl"))


def test_written_by_others(reeve):
    made = reeve(SLEEP)
    made.runtime_dir.chmod(0o777)
    assert_refused(made, "written by others", str(made.runtime_dir))
    made.runtime_dir.chmod(0o700)
    made.runtime_dir.rmdir()
    made.runtime_dir.write_text("a file")
    assert_refused(made, str(made.runtime_dir))
    made.runtime_dir.unlink()


def test_not_writable(reeve):
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv to become another user")
    if any(not os.stat(p).st_mode & 0o001 for p in paths.REEVE.parents):
        pytest.skip("another user cannot reach the executable")
    folder = Path(tempfile.mkdtemp(prefix="reeve-test-"))
    folder.chmod(0o755)
    made = reeve(SLEEP)
    text = made.config_path.read_text()
    made.config_path = folder / "test.yaml"
    made.config_path.write_text(text)
    made.environment["REEVE_RUNDIR"] = str(folder / "run")
    become = ["setpriv", "--reuid", "65534", "--regid", "65534",
              "--clear-groups"]
    try:
        assert_refused(made, "Permission denied", prefix=become)
        (folder / "run").mkdir()
        assert_refused(made, "Permission denied", prefix=become)
    finally:
        shutil.rmtree(folder)


def test_second_of_the_same_name(reeve, port):
    made = reeve({"services": {"web": {
        "command": paths.EXAMPLES["c"], "workers": 2, "ready": "notify",
        "listen": f"127.0.0.1:{port}"}}}).start()
    pids, keeper = made.pids(), made.keeper_pid()
    files = sorted(os.listdir(made.runtime_dir))
    with Load(port, connections=4) as load:
        assert_refused(made, "runs already", str(keeper))
        load.more(20)
    load.assert_nothing_lost()
    assert made.pids() == pids and made.keeper_pid() == keeper
    assert sorted(os.listdir(made.runtime_dir)) == files
    made.cli("reload", check=True)
    # Under another name it is welcome.
    other = reeve(SLEEP, name="other")
    other.runtime_dir = made.runtime_dir
    other.environment["REEVE_RUNDIR"] = str(made.runtime_dir)
    other.start()
    done = made.cli("status", target=False)
    assert done.returncode == 64 and "-t NAME" in done.stderr, done.stderr
    assert other.stop() == 0
    assert made.stop() == 0
    assert not list(made.runtime_dir.glob("*.ctl"))
    assert not list(made.runtime_dir.glob("*.pid"))


@pytest.mark.parametrize("text", ["1\n", "999999999\n", "text\n", "",
                                  "x" * 10000],
                         ids=["init", "nobody", "text", "empty", "long"])
def test_stale_pidfile(reeve, text):
    made = reeve(SLEEP)
    pidfile = made.runtime_dir / "test.pid"
    pidfile.write_text(text)
    done = made.cli("status")
    assert done.returncode == (3 if text[:1].isdigit() else 1), done.stderr
    assert done.stderr.startswith("reeve: ") and len(done.stderr) < 500
    made.start()
    assert made.keeper_pid() == made.process.pid
    assert made.stop() == 0
    assert not pidfile.exists()


def test_pidfile_that_is_something_else(reeve):
    made = reeve(SLEEP)
    pidfile = made.runtime_dir / "test.pid"
    target = made.folder / "precious"
    target.write_text("precious")
    pidfile.symlink_to(target)
    attempt(made, "start")
    assert target.read_text() == "precious"
    made.cli("stop")
    pidfile.unlink(missing_ok=True)
    pidfile.mkdir()
    assert_refused(made, "test.pid")


def test_files_removed_while_it_runs(reeve, port):
    made = reeve({"services": {"web": {
        "command": paths.EXAMPLES["c"], "workers": 2, "ready": "notify",
        "listen": f"127.0.0.1:{port}"}}}).start()
    path = made.control_path()
    with Load(port, connections=4) as load:
        made.control_path().unlink()
        done = made.cli("status")
        assert done.returncode == 3 and done.stderr.startswith("reeve: ")
        # A signal still reaches it.
        made.process.send_signal(signal.SIGHUP)
        made.wait_output("rolled to a new generation")
    load.assert_nothing_lost()
    # It may write there meanwhile.
    wait_until(lambda: shutil.rmtree(made.runtime_dir, ignore_errors=True)
               or not made.runtime_dir.exists())
    made.process.send_signal(signal.SIGTERM)
    assert made.process.wait(SOON_S) == 0
    assert not path.exists()
    made.runtime_dir.mkdir()


def test_both_killed_at_once(reeve):
    """The workers go on; a start says so, and --take-over ends them."""
    made = reeve(SLEEP).start()
    worker = made.pids()[0]
    made.kill_both()
    assert is_running(worker)
    done = attempt(made)
    assert done.returncode == FAILED, done.stdout + done.stderr
    assert "--take-over" in done.stderr and str(worker) in done.stderr
    assert is_running(worker)
    made.start("run", "--take-over", "-c", made.config_path)
    wait_gone(worker)
    assert made.pids() != [worker]
    assert made.stop() == 0
