"""How a worker shows that it is ready: alive, notify, tcp, http, exec."""
import os
import signal
import time

import pytest

from lib.process import wait_gone, wait_program, wait_until

# Listens on "web" and on "probe", and tells who asked the latter.  It starts
# to answer when the file named by its argument is there.
SERVER = r"""
import os, select, socket, sys
names = os.environ["LISTEN_FDNAMES"].split(":")
assert os.environ["LISTEN_PID"] == str(os.getpid())
sockets = {socket.socket(fileno=3 + i): n for i, n in enumerate(names)}
while len(sys.argv) > 1 and not os.path.exists(sys.argv[1]):
    select.select([], [], [], 0.01)
print("listening on", ",".join(names), flush=True)
while True:
    for s in select.select(list(sockets), [], [])[0]:
        try:
            c = s.accept()[0]
        except BlockingIOError:
            continue
        c.settimeout(1)
        try:
            head = c.recv(4096).decode()
        except OSError:
            head = ""
        line = head.split("\r\n")[0]
        print(sockets[s], line, flush=True)
        status = "503 Not yet"
        if "health" not in line or not os.path.exists(sys.argv[1] + ".sick"):
            status = "200 OK"
        c.sendall(f"HTTP/1.0 {status}\r\n\r\n{sockets[s]}\n".encode())
        c.close()
"""


@pytest.fixture
def server(reeve, port, tmp_path):
    program = tmp_path / "server.py"
    program.write_text(SERVER, encoding="utf-8")
    gate = tmp_path / "gate"

    def make(ready, **more):
        made = reeve({"services": {"web": dict({
            "command": ["/usr/bin/python3", str(program), str(gate)],
            "listen": f"127.0.0.1:{port}", "ready": ready}, **more)}})
        made.gate = gate
        return made
    return make


def start_closed(made):
    """Starts it, and sees that it is not ready before the gate opens."""
    made.start(ready=False)
    made.wait_for_status(lambda now: now["services"][0]["workers"])
    assert made.workers()[0]["state"] == "starting"


def test_tcp(server):
    made = server("tcp")
    start_closed(made)
    made.gate.touch()
    made.wait_ready()
    assert "listening on web,probe" in made.output()
    assert made.stop() == 0


def test_http(server):
    made = server("http /health?deep=1")
    start_closed(made)
    sick = made.gate.with_suffix(".sick")
    sick.touch()
    made.gate.touch()
    made.wait_output("probe GET /health?deep=1 HTTP/1.0")
    assert made.workers()[0]["state"] == "starting"  # 503 is not good.
    sick.unlink()
    made.wait_ready()
    assert made.stop() == 0


def test_http_is_asked_of_the_new_worker_only(server):
    made = server("http /health", workers=2)
    made.gate.touch()
    made.start()
    before = made.pids()
    made.config["services"]["web"]["start_timeout"] = "1s"
    made.write_config(made.config)
    # The old ones answer well, but they are not asked.
    made.gate.with_suffix(".sick").touch()
    done = made.cli("reload")
    assert done.returncode == 1 and "start_timeout" in done.stderr
    assert made.pids() == before


def test_exec(server, tmp_path):
    command = ["sh", "-c", 'test -e open && echo "$REEVE_SERVICE '
               '$REEVE_PID" > asked']
    made = server(["exec", *command], directory=str(tmp_path))
    start_closed(made)
    (tmp_path / "open").touch()
    made.wait_ready()
    assert (tmp_path / "asked").read_text().split() == [
        "web", str(made.pids()[0])]
    assert made.stop() == 0


def test_exec_as_text(server, tmp_path):
    made = server("exec test -e open", directory=str(tmp_path))
    start_closed(made)
    (tmp_path / "open").touch()
    made.wait_ready()


def test_exec_that_hangs_does_not_hold_up_the_rest(server, tmp_path):
    made = server("exec sleep 100", start_timeout="400ms",
                  restart="never")
    made.start(ready=False)
    made.wait_output("start_timeout")
    assert made.status() is not None


def test_notify_with_status(reeve):
    made = reeve({"services": {"job": {
        "command": ["sh", "-c",
                    "$REEVE_EXECUTABLE notify 'STATUS=warming up'; "
                    "$REEVE_EXECUTABLE notify READY=1 STATUS=fine; "
                    "exec sleep 1000"],
        "ready": "notify"}}})
    made.start()
    assert made.workers()[0]["status"] == "fine"
    assert "fine" in made.cli("status").stdout


def test_alive(reeve):
    made = reeve({"services": {"job": {"command": ["sleep", "1000"],
                                       "ready_after": "300ms"}}})
    start = time.monotonic()
    made.start()
    assert time.monotonic() - start >= 0.3
    assert made.stop() == 0


def test_alive_and_ready_sooner(reeve):
    made = reeve({"services": {"job": {
        "command": ["sh", "-c",
                    "$REEVE_EXECUTABLE notify READY=1; exec sleep 1000"],
        "ready_after": "1h", "start_timeout": "2h"}}})
    made.start()
    assert made.stop() == 0


def test_mainpid_is_refused(reeve):
    made = reeve({"services": {"job": {
        "command": ["sh", "-c", "$REEVE_EXECUTABLE notify MAINPID=1; "
                    "$REEVE_EXECUTABLE notify READY=1; exec sleep 1000"],
        "ready": "notify"}}})
    made.start()
    made.wait_output("MAINPID, which is refused")
    assert made.workers()[0]["pid"] != 1


def test_worker_environment(reeve, port, tmp_path):
    made = reeve({"services": {"web": {
        "command": ["sh", "-c", 'env > "env.$REEVE_WORKER"; '
                    '$REEVE_EXECUTABLE notify READY=1; exec sleep 1000',
                    "{fd:web}"],
        "directory": str(tmp_path), "workers": 2, "ready": "notify",
        "listen": f"127.0.0.1:{port}",
        "environment": {"FPM_SOCKETS": "127.0.0.1:9000={fd:web}"}}}})
    made.start()
    for index, pid in enumerate(made.pids()):
        wait_program(pid, "sleep")  # The shell said that it is ready.
        lines = (tmp_path / f"env.{index}").read_text().splitlines()
        env = dict(line.split("=", 1) for line in lines if "=" in line)
        assert env["LISTEN_FDS"] == "1" and env["LISTEN_PID"] == str(pid)
        assert env["LISTEN_FDNAMES"] == "web"
        assert env["FPM_SOCKETS"] == "127.0.0.1:9000=3"
        assert env["REEVE_WORKER"] == str(index)
        assert env["REEVE_GENERATION"] == "1"
        assert env["PORT"] == str(port)
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            assert "SigBlk:\t0000000000000000" in file.read()
        wait_until(lambda: sorted(os.listdir(f"/proc/{pid}/fd"), key=int)
                   == ["0", "1", "2", "3"], what="four descriptors")


def test_extend_timeout(reeve):
    """EXTEND_TIMEOUT_USEC keeps a slow start alive past its timeout."""
    made = reeve({"services": {"job": {
        "command": ["sh", "-c",
                    "$REEVE_EXECUTABLE notify EXTEND_TIMEOUT_USEC=60000000; "
                    "trap '$REEVE_EXECUTABLE notify READY=1' USR1; "
                    "echo extended; "
                    "while :; do sleep 1000 & wait $!; done"],
        "ready": "notify", "start_timeout": "15s", "drain_timeout": "0"}}})
    made.start(ready=False)
    made.wait_output("extended")
    pid = made.workers()[0]["pid"]
    made.ctl("time/stop")
    made.ctl("time/warp", "20000")
    assert made.workers()[0]["state"] == "starting"
    made.kill(pid, signal.SIGUSR1)
    made.wait_ready()
    assert made.pids() == [pid]


def test_start_timeout_without_extension(reeve):
    made = reeve({"services": {"job": {
        "command": ["sleep", "1000"], "ready": "notify",
        "start_timeout": "100s"}}})
    made.start(ready=False)
    made.wait_for_status(lambda now: now["services"][0]["workers"])
    pid = made.workers()[0]["pid"]
    made.ctl("time/stop")
    made.ctl("time/warp", "50000")
    assert made.workers()[0]["pid"] == pid
    made.ctl("time/warp", "50100")
    wait_gone(pid)
    made.wait_output("start_timeout")
