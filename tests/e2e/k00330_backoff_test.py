"""Workers that fail again and again, and what else ends or replaces one: all
over a warped clock, so that minutes pass in milliseconds."""
import signal
import time

import pytest

from lib.process import SOON_S, is_running, wait_until


def job(command, **more):
    return {"services": {"job": dict({
        "command": ["sh", "-c", command], "ready": "notify"}, **more)}}


def worker(now):
    """The one worker of the first service, or None."""
    workers = now["services"][0]["workers"]
    return workers[0] if len(workers) == 1 else None


def in_backoff(now):
    found = worker(now)
    return found is not None and found["state"] == "backoff"


def freeze(made):
    made.ctl("time/stop")
    return made


def fail_again(made, n):
    """Lets it fail `n` times more; the delays before each start, in ms."""
    delays = []
    for _ in range(n):
        now = made.wait_for_status(in_backoff)
        found = worker(now)
        delays.append(found["retry_in_ms"])
        if found["retry_in_ms"] > 1:
            made.ctl("time/warp", str(found["retry_in_ms"] - 1))
            assert worker(made.status())["state"] == "backoff"
        made.ctl("time/warp", "1")
        made.wait_for_status(
            lambda now: worker(now)["restarts"] > found["restarts"])
    return delays


def test_crash_loop(reeve, tmp_path):
    """Backoff doubles up to its longest, the service is called failed, and
    it is retried for ever: it neither spins nor dies silently."""
    gate, starts = tmp_path / "gate", tmp_path / "starts"
    made = reeve(job(f"echo start >> {starts}; if test -e {gate}; then "
                     "$REEVE_EXECUTABLE notify READY=1; exec sleep 1000; fi; "
                     "echo broken; exit 1", max_restarts=5, window="1h",
                     backoff={"min": "10s", "max": "200s"}))
    made.start(ready=False)
    # Started, and at once a second time; from then on it waits.
    now = made.wait_for_status(lambda now: in_backoff(now)
                               and worker(now)["restarts"] == 1)
    freeze(made)
    delays = fail_again(made, 8)
    for delay, longest in zip(delays, (10000, 20000, 40000, 80000)):
        assert longest * 0.7 <= delay <= longest, delays
    # From the sixth on it has failed: the longest delay, with its jitter.
    assert all(150000 <= delay <= 200000 for delay in delays[4:]), delays
    now = made.wait_for_status(in_backoff)
    assert now["services"][0]["state"] == "failed"
    assert worker(now)["restarts"] == 9
    assert len(starts.read_text().splitlines()) == 10
    assert 'service "job" failed' in made.output()
    assert "failed" in made.cli("status").stdout
    print(f"\ngaps between starts: 0, {', '.join(map(str, delays))} ms")
    # It recovers by itself.
    gate.touch()
    made.ctl("time/warp", "200000")
    made.wait_ready()
    made.wait_output("is well again")
    assert made.service()["state"] == "ready"
    assert made.stop() == 0


def test_crash_loop_in_real_time(reeve, tmp_path):
    starts = tmp_path / "starts"
    made = reeve(job(f"echo start >> {starts}; exit 1",
                     backoff={"min": "20ms", "max": "200ms"}))
    before = time.monotonic()
    made.start(ready=False)
    made.wait_for_status(lambda now: worker(now)
                         and worker(now)["restarts"] >= 5)
    n_starts = len(starts.read_text().splitlines())
    took_ms = (time.monotonic() - before) * 1000
    # After 0, 20, 40, 80, 160, 200, 200 ms, less their jitter of 30%.
    assert took_ms > 0.7 * (20 + 40 + 80 + 160)
    assert n_starts <= 7 + took_ms / (0.7 * 200)
    made.cli("stop", check=True)
    assert made.process.wait(SOON_S) == 0


def test_good_life_resets_the_backoff(reeve):
    made = reeve(job("$REEVE_EXECUTABLE notify READY=1; exec sleep 1000"))
    made.start()
    freeze(made)
    for _ in range(3):
        pid = made.pids()[0]
        made.ctl("time/warp", "120000")
        made.kill(pid)
        # At once: no warp is needed.
        made.wait_for_status(
            lambda now: worker(now) and worker(now)["state"] == "ready"
            and worker(now)["pid"] != pid)
    assert made.service()["state"] == "ready"


def test_exit_2_is_no_loop(reeve):
    made = reeve(job("echo wrong option; exit 2", backoff={"max": "50s"}))
    made.start(ready=False)
    now = made.wait_for_status(in_backoff)
    freeze(made)
    assert now["services"][0]["state"] == "failed"
    assert worker(now)["restarts"] == 0
    assert worker(now)["retry_in_ms"] > 30000
    assert made.output().count("wrong option") >= 1


@pytest.mark.parametrize("code,status", [("exit 7", 7), ("exit 0", 1),
                                         ("kill -9 $$", 137)])
def test_on_failed_exit(reeve, code, status):
    made = reeve(job(code, on_failed="exit", max_restarts=2,
                     backoff={"min": "1ms", "max": "2ms"}))
    made.start(ready=False)
    assert made.process.wait(SOON_S) == status
    assert "on_failed" in made.output()


@pytest.mark.parametrize("policy,code,again", [
    ("never", 7, False), ("never", 0, False), ("on-failure", 0, False),
    ("on-failure", 7, True), ("always", 0, True)])
def test_restart_policy(reeve, policy, code, again):
    made = reeve(job(f"trap 'exit {code}' USR1; "
                     "$REEVE_EXECUTABLE notify READY=1; "
                     "while :; do sleep 1000 & wait $!; done",
                     restart=policy))
    made.start()
    pid = made.pids()[0]
    made.kill(pid, signal.SIGUSR1)
    if again:
        made.wait_for_status(
            lambda now: worker(now) and worker(now)["state"] == "ready"
            and worker(now)["pid"] != pid)
    else:
        made.wait_for_status(
            lambda now: worker(now) and worker(now)["state"] == "done")
        # A start of all is a start of it too.
        assert made.cli("reload").returncode == 0
        assert made.pids() and made.pids() != [pid]
    assert made.stop() == 0


PINGS = r"""
import os, select, signal, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
path = os.environ["NOTIFY_SOCKET"]
s.connect("\0" + path[1:] if path[0] == "@" else path)
assert int(os.environ["WATCHDOG_USEC"]) == 100000000
assert os.environ["WATCHDOG_PID"] == str(os.getpid())
def ping(*_):
    s.send(b"WATCHDOG=1")
    print("pinged", flush=True)
signal.signal(signal.SIGUSR1, ping)
if os.environ["REEVE_WORKER"] == "0" and os.path.exists("slow"):
    while os.path.exists("slow"):
        select.select([], [], [], 0.01)
s.send(b"READY=1")
while True:
    signal.pause()
"""


def test_watchdog(reeve, tmp_path):
    program = tmp_path / "pings.py"
    program.write_text(PINGS, encoding="utf-8")
    made = reeve({"services": {"job": {
        "command": ["/usr/bin/python3", str(program)],
        "directory": str(tmp_path), "ready": "notify", "watchdog": "100s"}}})
    made.start()
    freeze(made)
    pid = made.pids()[0]
    for i in range(3):
        made.ctl("time/warp", "60000")
        made.kill(pid, signal.SIGUSR1)
        wait_until(lambda: made.output().count("pinged") == i + 1)
        # One call later, what came before it has been read.
        assert made.pids() == [pid]
    # It stops saying so: a spare is started first.
    (tmp_path / "slow").touch()
    made.ctl("time/warp", "101000")
    now = made.wait_for_status(
        lambda now: len(now["services"][0]["workers"]) == 2)
    states = {w["pid"]: w["state"] for w in now["services"][0]["workers"]}
    assert states[pid] == "ready"
    assert sorted(states.values()) == ["ready", "starting"]
    (tmp_path / "slow").unlink()
    made.wait_for_status(
        lambda now: worker(now) and worker(now)["state"] == "ready")
    assert made.pids() != [pid] and not is_running(pid)
    assert made.workers()[0]["restarts"] == 1
    assert made.stop() == 0


def test_watchdog_trigger(reeve):
    made = reeve(job("trap '$REEVE_EXECUTABLE notify WATCHDOG=trigger' USR1; "
                     "$REEVE_EXECUTABLE notify READY=1; "
                     "while :; do sleep 1000 & wait $!; done",
                     watchdog="1h"))
    made.start()
    pid = made.pids()[0]
    made.kill(pid, signal.SIGUSR1)
    made.wait_for_status(
        lambda now: worker(now) and worker(now)["state"] == "ready"
        and worker(now)["pid"] != pid)


def test_max_memory(reeve, tmp_path):
    program = tmp_path / "eats.py"
    program.write_text(
        "import os, signal\n"
        "eaten = []\n"
        "def eat(*_):\n"
        "    eaten.append(b'x' * 80000000)\n"
        "    print('eaten', flush=True)\n"
        "signal.signal(signal.SIGUSR1, eat)\n"
        "os.system('$REEVE_EXECUTABLE notify READY=1')\n"
        "while True:\n"
        "    signal.pause()\n", encoding="utf-8")
    made = reeve({"services": {"job": {
        "command": ["/usr/bin/python3", str(program)], "ready": "notify",
        "max_memory": "60MB"}}})
    made.start()
    freeze(made)
    pid = made.pids()[0]
    made.ctl("time/warp", "10000")
    assert made.pids() == [pid]
    made.kill(pid, signal.SIGUSR1)
    made.wait_output("eaten")
    made.ctl("time/warp", "2100")
    made.wait_for_status(
        lambda now: worker(now) and worker(now)["state"] == "ready"
        and worker(now)["pid"] != pid)
    assert "max_memory" in made.output()
    assert made.stop() == 0


def test_max_age(reeve):
    made = reeve(job("$REEVE_EXECUTABLE notify READY=1; exec sleep 1000",
                     max_age="1h", workers=2))
    made.start()
    freeze(made)
    first = set(made.pids())
    made.ctl("time/warp", "1000000")
    assert set(made.pids()) == first
    # Not all at one moment, so that not all are replaced at once.
    made.ctl("time/warp", "3500000")
    made.wait_for_status(
        lambda now: now["services"][0]["ready"] == 2
        and len(now["services"][0]["workers"]) == 2
        and not first & {w["pid"] for w in now["services"][0]["workers"]})
    assert made.stop() == 0


def test_worker_that_ignores_term(reeve):
    """drain_timeout, then TERM again and again, and KILL in the end."""
    made = reeve(job("trap 'echo no' TERM; $REEVE_EXECUTABLE notify READY=1; "
                     "while :; do sleep 1000 & wait $!; done",
                     drain_timeout="5s"))
    made.start()
    freeze(made)
    pid = made.pids()[0]
    assert made.cli("reload", "--no-wait").returncode == 0
    made.wait_output("no\n")
    made.wait_for_status(lambda now: now["services"][0]["ready"] == 1
                         and now["services"][0]["generation"] == 2)
    made.ctl("time/warp", "4900")
    assert is_running(pid)
    assert [w["state"] for w in made.workers()
            if w["pid"] == pid] == ["draining"]
    made.ctl("time/warp", "100")
    made.wait_for_status(lambda now: "stopping" in [
        w["state"] for w in now["services"][0]["workers"]])
    total = 0
    while is_running(pid) and total < 5000:
        made.ctl("time/warp", "50")
        total += 50
    made.wait_output("killing it")
    wait_until(lambda: not is_running(pid))
    assert total >= 1000, total
    made.wait_for_status(lambda now: worker(now) is not None)
    # `stop` of one such ends by its drain_timeout as well.
    made.cli("stop", "--no-wait", check=True)
    made.wait_for_status(lambda now: now["state"] == "stopping")
    made.ctl("time/warp", "5000")

    def has_ended():
        made.cli("ctl", "time/warp", "100")  # Fails when it has ended.
        return made.process.poll() is not None
    wait_until(has_ended)
    assert made.process.wait() == 0


def test_stopped_worker_ends_at_stop(reeve):
    """SIGSTOPped processes would not see a TERM: they are continued."""
    made = reeve(job("$REEVE_EXECUTABLE notify READY=1; exec sleep 1000"))
    made.start()
    made.kill(made.pids()[0], signal.SIGSTOP)
    assert made.stop() == 0
