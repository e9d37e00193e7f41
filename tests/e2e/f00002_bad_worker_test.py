"""Workers that misbehave: beside each a good service runs under load and loses
nothing, and the master answers as fast as ever."""
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from lib import paths
from lib.load import Load
from lib.process import is_running, status_fields, wait_until

SOCKET = r"""
import os, select, signal, socket, sys
def notify(text, fds=()):
    name = os.environ["NOTIFY_SOCKET"]
    name = "\0" + name[1:] if name[0] == "@" else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(name)
        socket.send_fds(s, [text.encode()], list(fds)) if fds else \
            s.send(text.encode())
def endless():
    while True:
        signal.pause()
"""


def is_sanitized():
    """A sanitizer's memory is not the master's own."""
    return (paths.REEVE.exists()
            and b"__asan_init" in paths.REEVE.read_bytes())


MOST_KB = 10000000 if is_sanitized() else 30000


def python(code):
    return ["/usr/bin/python3", "-c", SOCKET + code]


def good(port, **more):
    return {"command": paths.EXAMPLES["c"], "workers": 2, "ready": "notify",
            "listen": f"127.0.0.1:{port}", **more}


def latencies_ms(made, n=40):
    """How long `status` takes, asked over one connection."""
    with made.control() as control:
        times = []
        for _ in range(n):
            start = time.monotonic()
            control.call("status")
            times.append((time.monotonic() - start) * 1000)
    return sorted(times)


def assert_responsive(made, what):
    times = latencies_ms(made)
    print(f"{what}: status answered in {times[len(times) // 2]:.2f} ms, "
          f"at most {times[-1]:.2f} ms")
    # No measurement: who waits for the bad one would answer none.
    assert times[len(times) // 2] < 1000 and times[-1] < 10000, times


def high_water_kb(pid):
    return int(status_fields(pid)["VmHWM"].split()[0])


def test_exits_at_once(reeve, port):
    made = reeve({"services": {
        "web": good(port),
        "bad": {"command": ["sh", "-c", "echo goodbye; exit 1"],
                "workers": 3, "ready": "notify",
                "backoff": {"min": "50ms", "max": "2s"},
                "max_restarts": 5}}})
    made.start(ready=False)
    made.wait_for_status(lambda now: all(
        w["state"] == "ready" for s in now["services"] if s["name"] == "web"
        for w in s["workers"]))
    with Load(port, connections=4) as load:
        made.wait_output('service "bad" failed')
        assert_responsive(made, "a service that exits at once")
        pids = made.pids("web")
    load.assert_nothing_lost()
    assert made.pids("web") == pids
    said = made.output()
    assert "goodbye" in said and "exited with status 1" in said
    # Backed off: a handful of starts, not hundreds.
    starts = said.count("goodbye\n")
    assert starts < 80, starts
    assert made.stop() == 0


def test_never_ready(reeve, port):
    made = reeve({"services": {
        "web": good(port),
        "bad": {"command": python("endless()"), "ready": "notify",
                "start_timeout": "200ms", "backoff": {"min": "10s",
                                                      "max": "10s"}}}})
    made.start(ready=False)
    made.wait_output("was not ready within its start_timeout of 200 ms")
    assert_responsive(made, "a worker that never gets ready")
    with Load(port, connections=4) as load:
        load.more(50)
    load.assert_nothing_lost()
    assert made.stop() == 0


def test_ignores_term(reeve, port):
    made = reeve({"stop_timeout": "500ms", "services": {
        "web": good(port),
        "deaf": {"command": python(
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "notify('READY=1')\nendless()"),
            "ready": "notify", "drain_timeout": "300ms"}}})
    made.start()
    deaf = made.pids("deaf")[0]
    with Load(port, connections=4) as load:
        start = time.monotonic()
        made.cli("restart", "deaf", check=True)
        took = time.monotonic() - start
        assert not is_running(deaf)
        # TERM, then again with doubling delays for a second, then KILL; not
        # when some other patience has ended.
        assert took < 20, took
    load.assert_nothing_lost()
    start = time.monotonic()
    assert made.stop() == 0
    assert time.monotonic() - start < 20


def test_floods_its_notify_socket(reeve, port):
    flood = python("""
notify('READY=1')
name = "\\0" + os.environ["NOTIFY_SOCKET"][1:]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(name)
while True:
    s.send(b"STATUS=flooding\\nWATCHDOG=1\\n" + b"X" * 900)
""")
    made = reeve({"services": {
        "bad": {"command": flood, "workers": 2, "ready": "notify"},
        "web": good(port, workers=1)}})
    made.start()
    made.wait_output("floods its notify socket")
    master = made.master_pid()
    with Load(port, connections=4) as load:
        assert_responsive(made, "two workers that flood their notify sockets")
        start = time.monotonic()
        made.cli("scale", "web", 4, check=True)
        ready_ms = (time.monotonic() - start) * 1000
        made.cli("restart", "web", check=True)
        load.more(50)
    load.assert_nothing_lost()
    print(f"READY of three others came through within {ready_ms:.0f} ms")
    assert ready_ms < 20000
    ticks = cpu_ticks(master)
    latencies_ms(made, 200)
    print(f"cpu of the master meanwhile: {cpu_ticks(master) - ticks} ticks, "
          f"memory at most {high_water_kb(master)} kB")
    # It says so now and then, not a line a datagram.
    assert made.output().count("floods its notify socket") < 200
    assert made.master_pid() == master and high_water_kb(master) < MOST_KB
    assert made.stop() == 0


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_strange_notifications(reeve):
    # Descriptors, empty and huge datagrams, binary, a foreign MAINPID.
    made = reeve({"services": {"web": {"ready": "notify", "command": python("""
pair = socket.socketpair()
for i in range(200):
    notify("STATUS=with descriptors", [0, 1, 2, pair[0].fileno()] * 10)
notify("")
notify("=\\n==\\n\\n\\0\\0\\nREADY\\nREADY=\\nREADY=11\\n")
notify("EXTEND_TIMEOUT_USEC=99999999999999999999999\\n")
notify("EXTEND_TIMEOUT_USEC=-1\\nMAINPID=1\\n")
notify("READY=1" + " " * 100000)
notify("STATUS=\\x1b[31mred\\x07 " + "y" * 1000)
notify("READY=1\\nMAINPID=1\\n")
endless()
""")}}})
    made.start()
    master = made.master_pid()
    descriptors = len(os.listdir(f"/proc/{master}/fd"))
    assert descriptors < 40, descriptors
    assert "MAINPID" in made.output()
    status = made.workers()[0].get("status", "")
    assert "\x1b" not in made.cli("status", check=True).stdout + str(status)
    assert made.stop() == 0


def test_notify_from_a_stranger_is_ignored(reeve):
    made = reeve({"services": {"web": {
        "ready": "notify", "start_timeout": "20s",
        "command": python("print(os.environ['NOTIFY_SOCKET'], flush=True)\n"
                          "endless()")}}})
    made.start(ready=False)
    name = wait_until(lambda: re.search(r"^@(\S+)$", made.output(), re.M)
                      and re.search(r"^@(\S+)$", made.output(), re.M)[1])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.connect("\0" + name)
        stranger.send(b"READY=1")
    for _ in range(3):  # Each status is a turn of the master's loop.
        assert made.workers()[0]["state"] == "starting"


class SlowReader:
    """Runs reeve with a pipe for its standard output that is read only when
    told to."""

    def __init__(self, made):
        self.made = made
        self.read_fd, write_fd = os.pipe()
        made.process = subprocess.Popen(
            [str(paths.REEVE), "run", "-c", str(made.config_path)],
            stdin=subprocess.DEVNULL, stdout=write_fd,
            stderr=subprocess.DEVNULL, env=made.environment, cwd=made.folder)
        os.close(write_fd)
        self.n_bytes = 0
        self.thread = None

    def drain(self):
        def run():
            while True:
                piece = os.read(self.read_fd, 1 << 16)
                if not piece:
                    return
                self.n_bytes += len(piece)
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def close(self):
        if self.thread:
            self.thread.join(20)
        os.close(self.read_fd)


MEGABYTES = 100


def test_floods_its_output(reeve, port):
    line = "0123456789" * 12
    n = MEGABYTES * 1000000 // (len(line) + 1)
    made = reeve({"services": {
        "web": good(port, workers=1, stdout="null"),
        "bad": {"ready": "notify", "restart": "never", "command": python(f"""
notify("READY=1")
block = b"{line}\\n" * 1000
for i in range({n // 1000}):
    os.write(1, block)
os.close(1)
notify("STATUS=all written")
endless()
""")}}})
    reader = SlowReader(made)
    try:
        made.wait_ready()
        master = made.master_pid()
        with Load(port, connections=4) as load:
            # Nobody reads: the pipe is full, the worker waits in write().
            assert_responsive(made, "output that nobody reads")
            made.cli("restart", "web", check=True)
            assert "all written" not in str(made.workers("bad"))
            start = time.monotonic()
            reader.drain()
            assert_responsive(made, f"output of {MEGABYTES} MB")
            made.wait_for_status(lambda now: "all written" in str(now), 60)
            took = time.monotonic() - start
        load.assert_nothing_lost()
        high = high_water_kb(master)
        print(f"{MEGABYTES} MB passed through in {took:.2f} s, the master's "
              f"memory at most {high} kB")
        assert high < MOST_KB
        assert made.stop() == 0
    finally:
        made.close(check=False)
        reader.close()
    assert reader.n_bytes >= n // 1000 * 1000 * (len(line) + 1)


def test_reader_of_its_output_goes_away(reeve, port):
    made = reeve({"services": {
        "web": good(port),
        "loud": {"ready": "notify", "command": python("""
notify("READY=1")
while True:
    os.write(1, b"more\\n")
    select.select([], [], [], 0.002)
""")}}})
    reader = SlowReader(made)
    made.wait_ready()
    pids = made.pids("web") + made.pids("loud")
    reader.close()
    with Load(port, connections=4) as load:
        load.more(100)
        assert_responsive(made, "a closed standard output")
    load.assert_nothing_lost()
    assert made.pids("web") + made.pids("loud") == pids
    assert made.stop() == 0


def test_long_lines_and_binary_output(reeve, tmp_path):
    log = tmp_path / "out.log"
    made = reeve({"services": {"web": {
        "ready": "notify", "stdout": f"file {log}", "command": python("""
for i in range(8):
    os.write(1, b"x" * 1000000)
os.write(1, b"\\n")
os.write(1, bytes(range(256)) * 64 + b"\\n")
os.write(1, b"after\\0zero\\n\\xff\\xfe\\nlast line\\nno newline")
notify("READY=1")
endless()
""")}}})
    made.start()
    master = made.master_pid()
    assert_responsive(made, "lines of 8 MB")
    wait_until(lambda: b"last line\n" in log.read_bytes())
    data = log.read_bytes()
    assert data.count(b"x") == 8000000 + 64
    assert bytes(range(256)) in data and b"after\0zero\n" in data
    # What is shown to people is text, whatever was written before it.
    shown = made.cli("logs", check=True).stdout
    assert "last line" in shown, shown[-300:]
    assert "last line" in made.cli("ctl", "logs", check=True).stdout
    made.cli("status", "--json", check=True)
    assert high_water_kb(master) < MOST_KB
    assert made.stop() == 0
    assert log.read_bytes().endswith(b"no newline\n")


def test_failure_with_binary_last_words(reeve):
    made = reeve({"services": {"web": {"command": python(
        "os.write(2, b'\\xff\\0\\x1b[2Jbad\\n' * 3)\nsys.exit(7)")}}})
    done = subprocess.run(
        [str(paths.REEVE), "start", "-c", str(made.config_path)],
        env=made.environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"status 7" in done.stderr and b"bad" in done.stderr


def test_closes_its_descriptors(reeve, port):
    made = reeve({"services": {
        "web": good(port),
        "bad": {"ready": "notify", "listen": "127.0.0.1:0", "command": python(
            "notify('READY=1')\nos.closerange(0, 1024)\nendless()")}}})
    made.start()
    bad = made.pids("bad")
    with Load(port, connections=4) as load:
        assert_responsive(made, "a worker that closed its descriptors")
        load.more(50)
        assert made.pids("bad") == bad
        made.cli("restart", "bad", check=True)
    load.assert_nothing_lost()
    assert made.stop() == 0


def group_of(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


@pytest.mark.parametrize("how", ["crash", "stop", "adopted crash"])
def test_grandchildren_do_not_outlive_their_worker(reeve, how):
    made = reeve({"stop_timeout": "2s", "services": {"web": {
        "ready": "notify", "command": python("""
import subprocess
for i in range(3):
    subprocess.Popen(["sleep", "600"])
if os.fork() == 0:  # One that ignores TERM.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    endless()
notify("READY=1")
endless()
""")}}})
    made.start()
    worker = made.pids()[0]

    def group():
        return [int(p) for p in os.listdir("/proc")
                if p.isdigit() and group_of(int(p)) == worker
                and is_running(int(p))]
    assert len(group()) == 5
    if how == "adopted crash":
        old = made.master_pid()
        os.kill(old, signal.SIGKILL)
        made.wait_for_status(lambda now: now["master"]["pid"] != old)
        assert made.pids() == [worker]
    if how == "stop":
        assert made.stop() == 0
    else:
        made.kill(worker, signal.SIGSEGV)
        made.wait_for_status(lambda now: any(
            w["state"] == "ready" and w["pid"] != worker
            for s in now["services"] for w in s["workers"]))
    wait_until(lambda: not group(), what="the group is gone")


def test_dies_while_its_output_is_held(reeve):
    # A grandchild in a session of its own keeps the pipe open.
    made = reeve({"services": {"web": {
        "ready": "notify", "command": python("""
has_said, says = os.pipe()
if os.fork() == 0:
    os.setsid()
    print("held by", os.getpid(), flush=True)
    os.write(says, b".")
    endless()
os.read(has_said, 1)
notify("READY=1")
endless()
""")}}})
    made.start()
    for _ in range(3):
        worker = made.pids()[0]
        made.kill(worker)
        made.wait_for_status(lambda now: any(
            w["state"] == "ready" and w["pid"] != worker
            for s in now["services"] for w in s["workers"]))
    master = made.master_pid()
    assert len(os.listdir(f"/proc/{master}/fd")) < 40
    assert made.stop() == 0
    held = set(re.findall(r"held by (\d+)", made.output()))
    assert len(held) == 4
    for pid in held:
        made.kill(int(pid))
