"""Shortages: of descriptors, of processes, of disk space.  Each is reported,
nothing dies of it, and all is well again once it is over."""
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from lib import paths
from lib.load import Load
from lib.process import is_running, status_fields, wait_until


def service(port, **more):
    return {"command": paths.EXAMPLES["c"], "workers": 2, "ready": "notify",
            "listen": f"127.0.0.1:{port}", **more}


def start_with(made, prefix, cwd=None):
    with open(made.output_path, "ab") as output:
        made.process = subprocess.Popen(
            [*prefix, str(paths.REEVE), "run", "-c", str(made.config_path)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env=made.environment, cwd=cwd or made.folder)
    made.wait_ready()


@pytest.mark.parametrize("reuseport", [False, True])
def test_descriptors_run_out(reeve, port, reuseport):
    made = reeve({"services": {"web": service(
        port, reuseport=reuseport, backoff={"min": "20ms", "max": "50ms"})}})
    start_with(made, ["prlimit", "--nofile=64:64"])
    now = made.status()
    first = made.pids()
    with Load(port, connections=4) as load:
        done = made.cli("scale", "web", "60", "-T", "3")
        text = done.stdout + done.stderr + made.output()
        assert "Too many open files" in text, text[-2000:]
        assert len(text) < 200000
        # It answers, and what ran goes on.
        status = wait_until(made.status)
        assert status["keeper"]["pid"] == now["keeper"]["pid"]
        assert status["master"]["pid"] == now["master"]["pid"], made.output()
        assert set(first) <= set(made.pids()), made.output()
        n = len(made.pids())
        load.more(100)
        made.cli("scale", "web", "2", check=True)
        made.wait_for_status(
            lambda now: len(now["services"][0]["workers"]) == 2
            and all(w["state"] == "ready"
                    for w in now["services"][0]["workers"]))
        assert made.pids() == first
        # Well again: a reload needs descriptors, too.
        made.cli("reload", check=True)
        load.more(100)
    load.assert_nothing_lost()
    print(f"with 64 descriptors: {n} workers of 60 at the most")
    assert made.stop() == 0


def test_descriptors_run_out_and_the_master_dies(reeve, port):
    made = reeve({"services": {"web": service(
        port, backoff={"min": "1s", "max": "2s"})}})
    start_with(made, ["prlimit", "--nofile=64:64"])
    keeper = made.keeper_pid()
    with Load(port, connections=4) as load:
        made.cli("scale", "web", "60", "-T", "1")
        ready = set(made.pids())
        old = made.master_pid()
        os.kill(old, signal.SIGKILL)
        made.wait_for_status(lambda now: now["master"]["pid"] != old)
        assert made.keeper_pid() == keeper
        assert all(is_running(pid) for pid in ready)
        made.cli("scale", "web", "2", check=True)
        load.more(100)
    load.assert_nothing_lost()
    assert made.stop() == 0


@pytest.fixture
def other_user():
    """A folder that the user 65534 owns, and how to become that user."""
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv to become another user")
    if any(not os.stat(p).st_mode & 0o001 for p in paths.REEVE.parents):
        pytest.skip("another user cannot reach the executable")
    folder = Path(tempfile.mkdtemp(prefix="reeve-test-"))
    os.chown(folder, 65534, 65534)
    yield folder, ["setpriv", "--reuid", "65534", "--regid", "65534",
                   "--clear-groups"]
    shutil.rmtree(folder)


def test_fork_fails(reeve, port, other_user):
    folder, become = other_user
    made = reeve({"services": {"web": service(
        port, backoff={"min": "20ms", "max": "50ms"})}})
    made.runtime_dir = folder / "run"
    made.environment["REEVE_RUNDIR"] = str(made.runtime_dir)
    text = made.config_path.read_text()
    made.config_path = folder / "test.yaml"
    made.config_path.write_text(text)
    running = sum(1 for p in os.listdir("/proc") if p.isdigit()
                  and (status_fields(int(p)) or {}).get("Uid", "").split()[:1]
                  == ["65534"])
    limit = running + 7  # Keeper, master, and a few workers.
    start_with(made, [*become, "prlimit", f"--nproc={limit}:{limit}"], "/")
    first = made.pids()
    with Load(port, connections=4) as load:
        made.cli("scale", "web", "20", "-T", "2")
        made.wait_output("Resource temporarily unavailable")
        assert "cannot fork" in made.output()
        assert set(first) <= set(made.pids())
        made.cli("scale", "web", "2", check=True)
        made.wait_for_status(
            lambda now: [w["state"] for w in now["services"][0]["workers"]]
            == ["ready"] * 2)
        assert made.pids() == first
        made.cli("reload", check=True)
    load.assert_nothing_lost()
    assert made.stop() == 0


LOUD = ["/usr/bin/python3", "-u", "-c", """
import os, select, socket
name = "\\0" + os.environ["NOTIFY_SOCKET"][1:]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.connect(name)
    s.send(b"READY=1")
n = 0
while True:
    n += 1
    os.write(1, b"line %d %s\\n" % (n, b"x" * 100))
    select.select([], [], [], 0.001)
"""]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)],
            capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_disk_full(reeve, port, small_disk):
    log, own = small_disk / "out.log", small_disk / "reeve.log"
    made = reeve({"log": {"file": str(own)}, "services": {
        "web": service(port),
        "loud": {"command": LOUD, "ready": "notify",
                 "stdout": f"file {log}"}}})
    made.start()
    own.write_bytes(b"")
    pids, master = made.pids("web") + made.pids("loud"), made.master_pid()

    def is_full():
        return os.statvfs(small_disk).f_bavail == 0
    with Load(port, connections=4) as load:
        wait_until(is_full, 20)
        # Nowhere to write it down: it is still to be had from memory.
        wait_until(lambda: "No space left" in made.cli("logs").stdout)
        assert made.cli("logs").stdout.count("No space left") < 20
        load.more(100)
        made.cli("reload", check=True)
        assert made.pids("web") != pids[:2]
        # Space is there again: the lines go on, and it says so.
        with open(log, "r+b") as file:
            file.truncate(0)
        wait_until(lambda: "works again" in made.cli("logs").stdout)
        wait_until(lambda: log.stat().st_size)
    load.assert_nothing_lost()
    assert made.master_pid() == master
    tail = wait_until(lambda: re.findall(rb"line (\d+) x{100}\n",
                                         log.read_bytes()))
    assert len(tail) > 1
    assert made.stop() == 0


def test_log_that_cannot_be_written(reeve, port):
    made = reeve({"log": {"file": "/dev/full"}, "services": {
        "web": service(port),
        "loud": {"command": LOUD, "ready": "notify",
                 "stdout": "file /dev/full"}}})
    made.start()
    pids = made.pids("web") + made.pids("loud")
    with Load(port, connections=4) as load:
        wait_until(lambda: "cannot write to /dev/full: No space left"
                   in made.cli("logs").stdout)
        made.cli("reopen", check=True)
        load.more(100)
    load.assert_nothing_lost()
    assert made.pids("web") + made.pids("loud") == pids
    assert made.stop() == 0


def test_log_folder_goes_away(reeve, port, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    made = reeve({"log": {"file": str(folder / "reeve.log")}, "services": {
        "web": service(port),
        "loud": {"command": LOUD, "ready": "notify",
                 "stdout": f"file {folder}/out.log"}}})
    made.start()
    pids = made.pids("web") + made.pids("loud")
    shutil.rmtree(folder)
    with Load(port, connections=4) as load:
        made.cli("reopen", check=True)
        assert "cannot reopen" in made.cli("logs").stdout
        load.more(50)
        folder.mkdir()
        made.cli("reopen", check=True)
        wait_until(lambda: (folder / "out.log").stat().st_size)
    load.assert_nothing_lost()
    assert made.pids("web") + made.pids("loud") == pids
    assert made.stop() == 0


def test_memory_limit_of_the_master(reeve, port):
    """ENOMEM: an address space that a large reply does not fit into."""
    if resource.getrlimit(resource.RLIMIT_AS)[1] != resource.RLIM_INFINITY:
        pytest.skip("the address space is limited already")
    if b"__asan_init" in paths.REEVE.read_bytes():
        pytest.skip("a sanitizer has an address space of its own")
    made = reeve({"services": {"web": service(
        port, limits={"memory": "unlimited"},
        environment={f"V{i}": "x" * 1000 for i in range(900)})}})
    made.start()
    master = made.master_pid()
    size = int(status_fields(master)["VmSize"].split()[0]) * 1024
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(master, resource.RLIMIT_AS, (size, unlimited))
    pids = made.pids()
    with Load(port, connections=4) as load:
        for _ in range(5):
            done = made.cli("dump")
            assert done.returncode in (0, 1)
            if done.returncode:
                print("dump:", done.stderr.strip())
            made.cli("reload", "-T", "5")
        assert wait_until(made.status)
        resource.prlimit(master, resource.RLIMIT_AS, (unlimited, unlimited))
        made.cli("reload", check=True)
        load.more(50)
    load.assert_nothing_lost()
    assert made.master_pid() == master and made.pids() != pids
    assert made.stop() == 0
