"""Logs and counters by ovs-appctl, of reeve and of ovsdb-server alike."""
import json
import os
import re
import shutil
import subprocess

import pytest

from lib.process import SOON_S, wait_until

LIST_HEADER = ["                 console    syslog    file",
               "                 -------    ------    ------"]
LIST_LINE = re.compile(r"\S+ +(OFF|EMER|ERR|WARN|INFO|DBG)"
                       r" +(OFF|EMER|ERR|WARN|INFO|DBG)"
                       r" +(OFF|EMER|ERR|WARN|INFO|DBG)"
                       r"(    \(rate limiting disabled\))?")
PATTERN_HEADER = ["         prefix                            format",
                  "         ------                            ------"]
COVERAGE_HEADER = re.compile(
    r"Event coverage, avg rate over last: 5 seconds, last minute, last hour, "
    r" hash=[0-9a-f]{8}:")
COVERAGE_LINE = re.compile(
    r"[a-z0-9_]+ +\d+\.\d/sec +\d+\.\d{3}/sec +\d+\.\d{4}/sec   total: \d+")


class Target:
    """A control socket, and ovs-appctl for it."""

    def __init__(self, path):
        self.path = path

    def call(self, *arguments):
        return subprocess.run(["ovs-appctl", "-t", str(self.path), *arguments],
                              text=True, capture_output=True, timeout=60,
                              check=False)

    def ask(self, *arguments):
        done = self.call(*arguments)
        assert done.returncode == 0 and not done.stderr, done
        return done.stdout

    def refusal(self, *arguments):
        done = self.call(*arguments)
        assert done.returncode == 2 and not done.stdout, done
        said = done.stderr.splitlines()
        assert said[-1].endswith(": server returned an error"), said
        return said[:-1]

    def levels(self):
        """Module -> its levels at the console, the system log, the file."""
        lines = self.ask("vlog/list").splitlines()
        assert lines[:2] == LIST_HEADER
        assert all(LIST_LINE.fullmatch(line) for line in lines[2:]), lines
        assert lines[2:] == sorted(lines[2:])
        return {line.split()[0]: line.split()[1:4] for line in lines[2:]}


@pytest.fixture(autouse=True)
def appctl():
    if not shutil.which("ovs-appctl"):
        pytest.skip("no ovs-appctl here")


def serve(reeve, log):
    made = reeve({"log": log, "services": {"web": {
        "command": "sleep 600", "ready_after": "1ms"}}}).start()
    return made, Target(made.control_path())


@pytest.fixture
def ours(reeve, tmp_path):
    """A reeve that logs to a file, and that file."""
    log = tmp_path / "reeve.log"
    made, target = serve(reeve, {"file": str(log)})
    target.log = log
    target.module = "master"
    yield target
    assert made.stop() == 0


@pytest.fixture
def theirs(tmp_path):
    if not shutil.which("ovsdb-server"):
        pytest.skip("no ovsdb-server here")
    path = tmp_path / "db.ctl"
    log = tmp_path / "db.log"
    server = subprocess.Popen(
        ["ovsdb-server", "--no-db", f"--unixctl={path}", "--no-chdir",
         f"--log-file={log}", "-vconsole:off",
         f"--remote=punix:{tmp_path}/db.sock"],
        stderr=subprocess.DEVNULL,
        env=dict(os.environ, OVS_RUNDIR=str(tmp_path)))
    try:
        target = Target(path)
        wait_until(lambda: target.call("version").returncode == 0,
                   what="ovsdb-server", process=server)
        target.log = log
        target.module = "ovsdb_server"
        yield target
    finally:
        server.terminate()
        server.wait(SOON_S)


@pytest.fixture(params=["ours", "theirs"])
def either(request):
    return request.getfixturevalue(request.param)


def test_commands_are_listed_alike(ours, theirs):
    def usages(target):
        lines = target.ask("list-commands").splitlines()
        return {line for line in lines
                if line.split()[0].split("/")[0] in ("vlog", "coverage",
                                                     "memory")}
    missing = usages(theirs) - usages(ours)
    assert not missing
    assert len(usages(ours)) == 10


def test_levels(either):
    before = either.levels()
    assert before[either.module][2] == "INFO"
    either.ask("vlog/set", f"{either.module}:file:dbg")
    assert either.levels()[either.module][2] == "DBG"
    either.ask("vlog/set", f"WARN,File {either.module}", "ANY:console:off")
    after = either.levels()
    assert after.pop(either.module)[2] == "WARN"
    assert {levels[2] for levels in after.values()} == {"INFO"}
    either.ask("vlog/set", "file:err")
    assert {levels[2] for levels in either.levels().values()} == {"ERR"}
    either.ask("vlog/set", "ANY:ANY:info")
    assert {levels[2] for levels in either.levels().values()} == {"INFO"}


@pytest.mark.parametrize("arguments", [
    ("vlog/set", "bogus"), ("vlog/set", "dbg:info"),
    ("vlog/set", "console:file"), ("vlog/set", "PATTERN"),
    ("vlog/set", "PATTERN:disk:%m"), ("vlog/set", "FACILITY:none"),
    ("vlog/enable-rate-limit", "bogus"), ("vlog/disable-rate-limit", "bogus"),
    ("coverage/read-counter", "bogus"), ("coverage/read-counter",),
    ("vlog/list", "x"), ("vlog/close", "x"), ("memory/show", "x")])
def test_errors_read_alike(ours, theirs, arguments):
    assert ours.refusal(*arguments) == theirs.refusal(*arguments)


def test_nothing_is_set_when_one_argument_is_wrong(ours):
    ours.refusal("vlog/set", "file:dbg", "PATTERN:file:%")
    assert {levels[2] for levels in ours.levels().values()} == {"INFO"}


def test_patterns(either):
    lines = either.ask("vlog/list-pattern").splitlines()
    assert lines[:2] == PATTERN_HEADER
    assert [line.split()[0] for line in lines[2:]] == ["SYSLOG", "CONSOLE",
                                                       "FILE"]
    assert {line.index(line.split(None, 2)[2]) for line in lines[3:]} == {43}
    either.ask("vlog/set", "PATTERN:file:<%c/%p/%-6P|%05N> %m")
    line = either.ask("vlog/list-pattern").splitlines()[4]
    assert line[43:] == "<%c/%p/%-6P|%05N> %m"


def test_a_pattern_is_what_lines_look_like(ours):
    ours.ask("vlog/set", "PATTERN:file:<%c/%p/%A> %m")
    ours.ask("vlog/message", "hello")
    assert ours.log.read_text().endswith(
        "<rpc/INFO/reeve> user-message: hello\n")


def test_reopen_after_a_rename_and_close(either):
    moved = either.log.with_suffix(".1")
    assert either.log.stat().st_size > 0
    either.log.rename(moved)
    size = moved.stat().st_size
    assert either.ask("vlog/reopen") == ""
    assert either.log.exists()
    assert moved.stat().st_size - size < 100  # Theirs says farewell.
    assert either.ask("vlog/close") == ""
    either.log.unlink()
    assert either.ask("vlog/close") == ""
    assert not either.log.exists()
    assert either.ask("vlog/reopen") == ""
    assert either.log.exists()


def test_a_closed_log_is_let_go(ours):
    ours.ask("vlog/message", "one")
    assert "user-message: one\n" in ours.log.read_text()
    ours.ask("vlog/close")
    assert {tuple(levels) for levels in ours.levels().values()} == {
        ("OFF", "OFF", "OFF")}
    ours.ask("vlog/message", "two")
    ours.ask("vlog/reopen")
    ours.ask("vlog/message", "three")
    text = ours.log.read_text()
    assert "two" not in text and "user-message: three\n" in text
    ours.ask("vlog/close")
    ours.log.rename(ours.log.with_suffix(".1"))
    ours.ask("reopen")
    ours.ask("vlog/message", "four")
    assert ours.log.read_text().count("\n") == 1


def test_a_file_that_does_not_open_again(ours, tmp_path):
    ours.log.rename(tmp_path / "old.log")
    ours.log.mkdir()
    assert ours.refusal("vlog/reopen") == ["Is a directory"]
    ours.ask("vlog/message", "still here")
    assert "user-message: still here\n" in (tmp_path / "old.log").read_text()


def test_reopen_without_a_file(reeve):
    made, target = serve(reeve, {"level": "warn"})
    assert target.refusal("vlog/reopen") == ["Logging to file not configured"]
    assert target.levels()["master"] == ["WARN", "OFF", "OFF"]
    target.ask("vlog/set", "console:dbg")
    assert target.levels()["master"] == ["DBG", "OFF", "OFF"]
    target.ask("vlog/message", "to the console")
    made.wait_output("info rpc: user-message: to the console")
    assert made.stop() == 0


def test_rate_limits(either):
    disabled = "    (rate limiting disabled)"

    def n_disabled():
        return either.ask("vlog/list").count(disabled)
    either.ask("vlog/disable-rate-limit", either.module)
    assert n_disabled() == 1
    either.ask("vlog/disable-rate-limit")
    assert n_disabled() == len(either.levels())
    either.ask("vlog/enable-rate-limit", "ANY")
    assert n_disabled() == 0


def test_rate_limits_hold_back(reeve, tmp_path):
    log = tmp_path / "log"
    made, target = serve(reeve, {"file": str(log)})
    for i in range(100):
        made.ctl("vlog/message", f"first {i}.")
    assert 30 <= log.read_text().count("user-message: first") < 50
    target.ask("vlog/disable-rate-limit", "rpc")
    for i in range(100):
        made.ctl("vlog/message", f"second {i}.")
    assert log.read_text().count("user-message: second") == 100
    assert made.stop() == 0


def test_coverage(either):
    for _ in range(2):  # Some counters count nothing before a first call.
        lines = either.ask("coverage/show").splitlines()
    assert COVERAGE_HEADER.fullmatch(lines[0])
    assert re.fullmatch(r"\d+ events never hit", lines[-1])
    assert all(COVERAGE_LINE.fullmatch(line) for line in lines[1:-1]), lines


def test_counters_count(ours):
    def read(name):
        text = ours.ask("coverage/read-counter", name)
        assert re.fullmatch(r"\d+\n", text)
        return int(text)
    before = read("unixctl_received"), read("jsonrpc_bytes_received")
    assert read("unixctl_received") == before[0] + 2
    assert read("jsonrpc_bytes_received") > before[1]
    assert read("loop_turn") > 0
    lines = ours.ask("coverage/show").splitlines()
    totals = [int(line.split()[-1]) for line in lines[1:-1]]
    assert totals == sorted(totals, reverse=True) and len(totals) > 5


def test_averages_over_the_warped_clock(reeve, tmp_path):
    made, target = serve(reeve, {"file": str(tmp_path / "log")})
    made.ctl("time/stop")
    made.ctl("time/warp", "5000")
    made.ctl("version")
    for _ in range(100):
        made.ctl("version")
    made.ctl("time/warp", "5000")
    line = next(line for line in target.ask("coverage/show").splitlines()
                if line.startswith("unixctl_received "))
    five, minute, hour = (float(word.split("/")[0])
                          for word in line.split()[1:4])
    assert 20 <= five <= 25 and 1.6 < minute < 2.5 and 0 < hour < 0.1
    assert made.stop() == 0


def test_memory(ours, theirs):
    shape = re.compile(r"[A-Za-z-]+:\d+( [A-Za-z-]+:\d+)*\n")
    assert shape.fullmatch(theirs.ask("memory/show"))
    text = ours.ask("memory/show")
    assert shape.fullmatch(text)
    values = dict(word.split(":") for word in text.split())
    assert list(values) == sorted(values)
    assert int(values["rss-kB"]) > 500
    assert values["unixctl-connections"] == "1"
    assert values["workers"] == "1"


def test_json_lines_are_a_pattern(reeve, tmp_path):
    log = tmp_path / "log"
    made, target = serve(reeve, {"file": str(log), "format": "json"})
    target.ask("vlog/message", 'a "quote" \\ and \u00e4\nanother line')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[-1]["message"] == (
        'user-message: a "quote" \\ and \u00e4\nanother line')
    assert lines[-1]["level"] == "info" and lines[-1]["module"] == "rpc"
    assert lines[-1]["pid"] == made.master_pid()
    assert '"message":"%j"' in target.ask("vlog/list-pattern")
    assert made.stop() == 0


def test_the_system_log(tmp_path, reeve):
    """Only where something listens on /dev/log: what is asked for by
    vlog/set is open then, and all other modules stay off."""
    made, target = serve(reeve, {"level": "info"})
    assert target.levels()["rpc"] == ["INFO", "OFF", "OFF"]
    target.ask("vlog/set", "rpc:syslog:err")
    levels = target.levels()
    assert levels["rpc"] == ["INFO", "ERR", "OFF"]
    assert levels["master"] == ["INFO", "OFF", "OFF"]
    line = target.ask("vlog/list-pattern").splitlines()[2]
    assert line.startswith("SYSLOG   <%B>%d{%b %e %T} %A: ")
    assert made.stop() == 0
