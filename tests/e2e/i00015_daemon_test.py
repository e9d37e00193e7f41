"""Daemons built on libreeve: start, failure to start, monitor, signals."""
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from lib import paths
from lib.control import Control, ControlError
from lib.process import (SOON_S, children, is_running, status_fields,
                         wait_gone, wait_until)

PROGRAM = paths.BUILD / "tests" / "programs" / "reeve-test"


def title(pid):
    """The command line as ps shows it."""
    try:
        data = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return data.strip(b"\0").replace(b"\0", b" ").decode()


def wait_title(pid, *titles):
    """A monitor writes its title after the start of a daemon, which answers
    as soon as it runs."""
    wait_until(lambda: title(pid) in titles, what=f"the title {titles[0]}")


def parent(pid):
    fields = status_fields(pid)
    return int(fields["PPid"]) if fields else 0


class Daemon:
    """`reeve-test test-daemon` in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.folder.mkdir()
        self.pidfile = folder / "d.pid"
        self.seen = set()
        self.popen = None

    def command(self, *options):
        return [str(PROGRAM), "test-daemon", "--name=d", "--pidfile",
                *options]

    def environment(self):
        return dict(os.environ, OVS_RUNDIR=str(self.folder))

    def start(self, *options, status=0, **arguments):
        """Runs it detached, until the shell would return."""
        done = subprocess.run(
            self.command("--detach", *options), env=self.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False, **arguments)
        self.note()
        assert done.returncode == status, done.stderr
        return done

    def foreground(self, *options):
        """Runs it as a child of ours, until it is up."""
        self.popen = subprocess.Popen(self.command(*options),
                                      env=self.environment())
        self.seen.add(self.popen.pid)
        wait_until(self.ask_pid, process=self.popen)
        self.note()
        return self.popen

    def pid(self):
        """What the pidfile says; 0 if there is none."""
        try:
            return int(self.pidfile.read_text() or "0")
        except FileNotFoundError:
            return 0

    def note(self):
        """Remembers who runs, for the end of the test."""
        pid = self.pid()
        while pid > 1 and (is_guardian(pid) or "test-daemon" in title(pid)):
            self.seen.add(pid)
            pid = parent(pid)

    def call(self, *words):
        with Control(self.folder / f"d.{self.pid()}.ctl") as control:
            return control.call(*words).rstrip("\n")

    def call_and_lose(self, *words):
        """A command that the daemon does not survive."""
        with pytest.raises((ControlError, ConnectionError)):
            self.call(*words)

    def ask_pid(self):
        """The daemon's pid by its own word; 0 while it is not there."""
        try:
            return int(self.call("pid"))
        except (OSError, ControlError):
            return 0

    def send(self, number):
        """A signal to the daemon itself."""
        kill(self.pid(), number)

    def wait_restart(self, old):
        """Waits until another than `old` answers; its pid."""
        def look():
            pid = self.pid() != old and self.ask_pid()
            return pid if pid and pid != old else None
        pid = wait_until(look, what="restart")
        self.note()
        return pid

    def monitor(self):
        return parent(self.pid())

    def guard(self):
        return parent(self.monitor())

    def stop(self):
        """Ends it as a client would; all its processes are gone then."""
        self.note()
        self.call("stop")
        self.wait_end()

    def wait_end(self):
        for pid in self.seen:
            if self.popen is not None and pid == self.popen.pid:
                self.popen.wait(SOON_S)
            else:
                wait_gone(pid)

    def leftovers(self):
        return sorted(path.name for path in self.folder.iterdir())

    def close(self):
        self.note()
        left = [pid for pid in self.seen if is_running(pid)
                and (is_guardian(pid) or "test-daemon" in title(pid))]
        # The guard first, or it starts what is killed before it anew.
        for pid in sorted(left):
            try:
                kill(pid)
            except ProcessLookupError:
                pass
        if self.popen is not None:
            self.popen.wait(SOON_S)
        return left


def kill(pid, number=signal.SIGKILL):
    """To one process, and never to a group, or to all."""
    assert pid > 1, pid
    os.kill(pid, number)


def is_guardian(pid):
    return ": monitoring pid" in title(pid) or ": guarding" in title(pid)


@pytest.fixture
def daemon(tmp_path):
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not built")
    made = Daemon(tmp_path / "r")
    yield made
    assert made.close() == [], "processes were left behind"


def appctl(made, *words):
    if not shutil.which("ovs-appctl"):
        pytest.skip("no ovs-appctl here")
    return subprocess.run(["ovs-appctl", "-t", "d", *words],
                          env=made.environment(), text=True, timeout=60,
                          capture_output=True, check=False)


def test_start(daemon):
    """The shell has it back when the daemon is up, and not before."""
    done = daemon.start()
    assert done.stdout == done.stderr == ""
    pid = daemon.pid()
    assert daemon.ask_pid() == pid
    assert os.getsid(pid) not in (0, os.getsid(0)), "no session of its own"
    assert daemon.call("folder") == "/"
    assert [os.readlink(f"/proc/{pid}/fd/{i}") for i in range(3)] == [
        "/dev/null"] * 3
    assert appctl(daemon, "pid").stdout == f"{pid}\n"
    daemon.stop()
    assert daemon.leftovers() == []


def test_no_chdir(daemon):
    daemon.start("--no-chdir", cwd=daemon.folder)
    assert daemon.call("folder") == str(daemon.folder)
    daemon.stop()


@pytest.mark.parametrize("monitor", [[], ["--monitor"]])
def test_no_standard_descriptors(daemon, monitor):
    """Started by something that has closed them."""
    command = daemon.command("--detach", *monitor)
    assert subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', *command],
        env=daemon.environment(), timeout=60, check=False).returncode == 0
    assert [os.readlink(f"/proc/{daemon.pid()}/fd/{i}")
            for i in range(3)] == ["/dev/null"] * 3
    daemon.stop()


def test_relative_pidfile(daemon):
    daemon.pidfile = daemon.folder / "other.pid"
    daemon.start("--pidfile=other.pid")
    assert daemon.ask_pid() == daemon.pid() != 0
    daemon.stop()
    assert daemon.leftovers() == []


@pytest.mark.parametrize("monitor", [[], ["--monitor"]])
@pytest.mark.parametrize("line,status,text", [
    ("3", 3, "d: cannot start\n"),
    ("0", 1, "d: cannot start\nd: the daemon died before its start was "
             "complete (exit status 0)\n"),
    (f"-{int(signal.SIGKILL)}", 1,
     "d: the daemon died before its start was complete (killed (Killed))\n"),
])
def test_failure_to_start(daemon, tmp_path, line, status, text, monitor):
    """Status and text reach the shell; nothing stays, but the pidfile of one
    that is killed and has no monitor."""
    fail = tmp_path / "fail"
    fail.write_text(line)
    done = daemon.start(f"--fail-file={fail}", *monitor, status=status)
    assert done.stderr == text
    assert done.stdout == ""
    was_killed = line.startswith("-") and not monitor
    assert daemon.leftovers() == (["d.pid"] if was_killed else [])
    fail.unlink()
    daemon.start()
    daemon.stop()
    assert daemon.leftovers() == []


@pytest.mark.parametrize("monitor", [[], ["--monitor"]])
def test_launcher_interrupted(daemon, tmp_path, monitor):
    """Who gives up the start gets no daemon behind his back."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    launcher = subprocess.Popen(
        daemon.command("--detach", f"--fail-file={fifo}", *monitor),
        env=daemon.environment())
    with open(fifo, "w", encoding="utf-8"):
        # The daemon is there, and waits for what is written.
        daemon.note()
        daemon.seen.update(children(launcher.pid))
        launcher.kill()
        launcher.wait(SOON_S)
    daemon.wait_end()
    assert daemon.leftovers() == []


@pytest.mark.parametrize("monitor", [[], ["--monitor"]])
def test_double_start(daemon, monitor):
    daemon.start(*monitor)
    pid = daemon.pid()
    done = daemon.start(*monitor, status=1)
    assert done.stderr == (f"d: {daemon.pidfile}: already running as pid "
                           f"{pid}, aborting\n")
    assert daemon.ask_pid() == daemon.pid() == pid
    daemon.stop()
    assert daemon.leftovers() == []


def test_stale_pidfile(daemon):
    """One that names a living process, but that nobody holds."""
    daemon.pidfile.write_text("1\n")
    daemon.start()
    assert daemon.pid() > 1
    daemon.stop()


def test_overwrite_pidfile(daemon):
    """The end of the old daemon leaves the new one's pidfile alone."""
    daemon.start()
    old = daemon.pid()
    daemon.start("--overwrite-pidfile")
    new = daemon.pid()
    assert new != old and is_running(old)
    assert appctl(daemon, "pid").stdout == f"{new}\n"
    kill(old, signal.SIGTERM)
    wait_gone(old)
    assert daemon.pid() == new
    assert appctl(daemon, "pid").stdout == f"{new}\n"
    daemon.stop()
    assert daemon.leftovers() == []


def test_wrong_options(daemon):
    done = daemon.start("--monitor=3", status=1)
    assert "'--monitor' doesn't allow an argument" in done.stderr
    done = daemon.start("--user", status=1)
    assert "'--user' requires an argument" in done.stderr
    done = daemon.start("--pidfile=/no/such/folder/x.pid", status=1)
    assert "/no/such/folder/x.pid: No such file" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_user(daemon):
    done = daemon.start("--user=no-such-user", status=1)
    assert "there is no user \"no-such-user\"" in done.stderr
    done = daemon.start("--user=nobody:no-such-group", status=1)
    assert "there is no group \"no-such-group\"" in done.stderr
    # Its folders must let it in, and the pidfile's let it write.
    folder = daemon.folder
    os.chown(folder, 65534, 65534)
    while folder != Path("/tmp") and folder != folder.parent:
        folder.chmod(folder.stat().st_mode | 0o011)
        folder = folder.parent
    daemon.start("--user=nobody", "--monitor")
    fields = status_fields(daemon.pid())
    assert fields["Uid"].split() == ["65534"] * 4
    assert fields["Gid"].split() == ["65534"] * 4
    assert fields["Groups"].split() in ([], ["65534"])
    kept = 1 << 10 | 1 << 14
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16)
    assert int(fields["CapPrm"], 16) & ~kept == 0
    assert status_fields(daemon.monitor())["Uid"].split()[0] == "65534"
    assert daemon.pidfile.stat().st_uid == 65534
    pid = daemon.pid()
    daemon.send(signal.SIGKILL)
    assert daemon.wait_restart(pid)
    daemon.stop()


def test_monitor_restarts(daemon):
    """After whatever death that nobody asked for; the title tells."""
    daemon.start("--monitor")
    monitor = daemon.monitor()
    wait_title(monitor, f"d: monitoring pid {daemon.pid()} (healthy)")
    assert Path(f"/proc/{monitor}/comm").read_text() == "monitor\n"
    crashes = [
        (lambda: daemon.send(signal.SIGSEGV), "killed (Segmentation fault)"),
        (lambda: daemon.send(signal.SIGKILL), "killed (Killed)"),
        (lambda: daemon.call_and_lose("exit", "3"), "exit status 3"),
        (lambda: daemon.send(signal.SIGABRT), "killed (Aborted)"),
        (lambda: daemon.call_and_lose("overflow"),
         "killed (Segmentation fault)"),
    ]
    for n, (crash, text) in enumerate(crashes, 1):
        pid = daemon.pid()
        crash()
        new = daemon.wait_restart(pid)
        assert daemon.monitor() == monitor
        start = f"d: monitoring pid {new} ({n} crashes: pid {pid} died, {text}"
        wait_title(monitor, start + ")", start + ", core dumped)")
        assert title(new).startswith(str(PROGRAM)), "the title was inherited"
        assert daemon.call("folder") == "/"
        assert daemon.leftovers() == [f"d.{new}.ctl", "d.pid"]
    daemon.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT,
                                    signal.SIGHUP])
@pytest.mark.parametrize("to", ["daemon", "monitor", "guard"])
def test_monitor_ends_with_the_daemon(daemon, number, to):
    """A death that was asked for, wherever the signal went."""
    daemon.start("--monitor")
    daemon.note()
    pids = {"daemon": daemon.pid(), "monitor": daemon.monitor(),
            "guard": daemon.guard()}
    kill(pids[to], number)
    daemon.wait_end()
    assert daemon.leftovers() == []


def test_exit_0_ends_the_monitor(daemon):
    daemon.start("--monitor")
    daemon.note()
    daemon.call_and_lose("exit", "0")
    daemon.wait_end()


def test_signals_are_forwarded(daemon):
    daemon.start("--monitor", "--handle-signals")
    expected = []
    for to in (daemon.monitor(), daemon.guard()):
        for name in ("HUP", "USR1", "USR2", "WINCH"):
            kill(to, signal.Signals["SIG" + name])
            expected.append(name)
            wait_until(lambda: daemon.call("signals").split() == expected,
                       what=f"{expected}")
    kill(daemon.monitor(), signal.SIGQUIT)
    wait_until(lambda: "QUIT" in daemon.call("signals"))
    # It was told to end: whatever it dies of now is that end.
    daemon.note()
    daemon.send(signal.SIGKILL)
    daemon.wait_end()


def test_restart_that_fails_is_tried_again(daemon, tmp_path):
    fail = tmp_path / "fail"
    daemon.start("--monitor", f"--fail-file={fail}")
    monitor = daemon.monitor()
    first = daemon.pid()
    fail.write_text("5")
    daemon.send(signal.SIGKILL)
    wait_until(lambda: "3 crashes" in title(monitor)
               and "exit status 5" in title(monitor), what="two failures")
    fail.unlink()
    daemon.wait_restart(first)
    assert daemon.monitor() == monitor
    daemon.stop()
    assert daemon.leftovers() == [], "nobody cleaned up after SIGKILL"


def test_terminated_between_two_daemons(daemon, tmp_path):
    fail = tmp_path / "fail"
    daemon.start("--monitor", f"--fail-file={fail}")
    monitor = daemon.monitor()
    fail.write_text("5")
    daemon.send(signal.SIGKILL)
    wait_until(lambda: "4 crashes" in title(monitor), what="failures")
    kill(monitor, signal.SIGTERM)
    daemon.wait_end()


def test_monitor_killed(daemon):
    """The guard goes on in its place; the daemon does not notice."""
    daemon.start("--monitor")
    pid, monitor, guard = daemon.pid(), daemon.monitor(), daemon.guard()
    wait_title(guard, f"d: guarding monitor pid {monitor}")
    kill(monitor)
    wait_title(guard, f"d: monitoring pid {pid} (healthy)")
    assert daemon.ask_pid() == pid and daemon.monitor() == guard
    assert daemon.call("monitored") == "yes"
    daemon.send(signal.SIGKILL)
    new = daemon.wait_restart(pid)
    # There are two again: who was alone is the guard now.
    assert daemon.guard() == guard
    wait_title(daemon.monitor(), f"d: monitoring pid {new} (1 crashes: pid "
               f"{pid} died, killed (Killed))")
    kill(daemon.monitor())
    wait_until(lambda: daemon.monitor() == guard)
    kill(guard, signal.SIGTERM)
    daemon.wait_end()


def test_guard_killed(daemon):
    """The monitor goes on, and has a guard again after a restart."""
    daemon.start("--monitor")
    pid, monitor, guard = daemon.pid(), daemon.monitor(), daemon.guard()
    kill(guard)
    wait_gone(guard)
    assert daemon.ask_pid() == pid
    daemon.send(signal.SIGKILL)
    daemon.wait_restart(pid)
    assert daemon.guard() == monitor
    daemon.stop()


def test_both_guardians_killed(daemon):
    """The daemon serves on, knows it, and can be ended."""
    daemon.start("--monitor")
    pid, monitor, guard = daemon.pid(), daemon.monitor(), daemon.guard()
    assert daemon.call("monitored") == "yes"
    kill(guard)
    kill(monitor)
    wait_until(lambda: daemon.call("monitored") == "no")
    assert daemon.ask_pid() == pid
    daemon.stop()
    assert daemon.leftovers() == []


def test_both_guardians_killed_while_it_restarts(daemon, tmp_path):
    """Killed at many moments of a restart, the guardians leave no daemon that
    they do not know: one answers in the end, and all of them can go."""
    daemon.start("--monitor")
    guard = daemon.guard()
    for _ in range(6):
        pid, monitor = daemon.pid(), daemon.monitor()
        daemon.send(signal.SIGKILL)
        if monitor != guard:
            kill(monitor)
        daemon.wait_restart(pid)
    daemon.stop()
    assert daemon.pid() == 0


def test_no_core_after_the_first(daemon):
    """The limit of core dumps is 0 in the daemon after one that dumped."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("no core dumps here")

    def allow():
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    daemon.start("--monitor", "--no-chdir", preexec_fn=allow,
                 cwd=daemon.folder)
    if daemon.call("core-limit") == "0":
        daemon.stop()
        pytest.skip("a sanitizer forbids core dumps")
    pid = daemon.pid()
    daemon.send(signal.SIGSEGV)
    daemon.wait_restart(pid)
    dumped = "core dumped" in title(daemon.monitor())
    assert (daemon.call("core-limit") == "0") == dumped
    daemon.stop()
    if not dumped:
        pytest.skip("the kernel writes no core dumps here")


def test_monitor_in_the_foreground(daemon):
    popen = daemon.foreground("--monitor")
    pid = daemon.pid()
    assert daemon.guard() == popen.pid
    daemon.send(signal.SIGKILL)
    assert daemon.wait_restart(pid)
    popen.terminate()
    assert popen.wait(SOON_S) == 0
    daemon.wait_end()


@pytest.mark.parametrize("number", [
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT,
    signal.SIGALRM, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE,
    signal.SIGILL, signal.SIGABRT, signal.SIGXCPU, signal.SIGXFSZ,
    signal.SIGPIPE, signal.SIGUSR1])
def test_deadly_signal(daemon, number):
    """Pidfile and socket go, and the process dies by that very signal."""
    popen = daemon.foreground()
    assert daemon.leftovers() == [f"d.{popen.pid}.ctl", "d.pid"]
    popen.send_signal(number)
    assert popen.wait(SOON_S) == -number
    assert [name for name in daemon.leftovers()
            if not name.startswith("core")] == []


def test_deadly_signal_to_one_that_hangs(daemon):
    popen = daemon.foreground()
    with Control(daemon.folder / f"d.{popen.pid}.ctl") as control:
        control.send_bytes(b'{"id":0,"method":"spin","params":[]}')
        wait_until(lambda: Path(f"/proc/{popen.pid}/stat").read_text()
                   .rsplit(")", 1)[1].split()[0] == "R")
        popen.terminate()
        assert popen.wait(SOON_S) == -signal.SIGTERM
    assert daemon.leftovers() == []


def ovsdb_server(folder, *options):
    return subprocess.run(
        ["ovsdb-server", "--no-db", "--detach", "--pidfile",
         f"--log-file={folder}/log", "-vconsole:off", *options],
        env=dict(os.environ, OVS_RUNDIR=str(folder), OVS_LOGDIR=str(folder),
                 OVS_DBDIR=str(folder)),
        capture_output=True, text=True, timeout=60, check=False)


def test_as_ovsdb_server(daemon, tmp_path):
    """The same scenario with the original: status, texts, title, who is
    found by name."""
    if not shutil.which("ovsdb-server"):
        pytest.skip("no ovsdb-server here")
    folder = tmp_path / "o"
    folder.mkdir()
    theirs = ovsdb_server(folder, "--monitor")
    if "no-db" in theirs.stderr:
        subprocess.run(["ovsdb-tool", "create", folder / "conf.db",
                        write_schema(folder)], check=True)
        theirs = ovsdb_server(folder, "--monitor", str(folder / "conf.db"))
    assert theirs.returncode == 0, theirs.stderr
    pid = int((folder / "ovsdb-server.pid").read_text())
    monitor = parent(pid)
    try:
        daemon.start("--monitor")
        wait_same_titles(daemon.monitor(), daemon.pid(), 0, monitor, pid, 0)
        second = ovsdb_server(folder, "-vconsole:emer", "--monitor")
        assert second.returncode == daemon.start(
            "--monitor", status=1).returncode
        assert f"already running as pid {pid}, aborting" in second.stderr
        old, old_theirs = daemon.pid(), pid
        kill(pid, signal.SIGSEGV)
        daemon.send(signal.SIGSEGV)
        daemon.wait_restart(old)
        pid = wait_until(lambda: restarted(folder, old_theirs))
        wait_same_titles(daemon.monitor(), daemon.pid(), old, monitor, pid,
                         old_theirs)
    finally:
        kill(monitor)
        kill(int((folder / "ovsdb-server.pid").read_text()))
    daemon.stop()


def write_schema(folder):
    schema = folder / "schema"
    schema.write_text('{"name":"d","version":"1.0.0","tables":{"t":{'
                      '"columns":{"c":{"type":"string"}}}}}')
    return schema


def restarted(folder, old):
    try:
        pid = int((folder / "ovsdb-server.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if pid != old else None


def anonymous(text, pid, old):
    """A title without its numbers of processes and the core dump."""
    return text.replace(f" {pid} ", " N ").replace(
        f" {old} ", " O ").replace(", core dumped", "").replace(
            "ovsdb-server", "d")


def wait_same_titles(monitor, pid, old, their_monitor, their_pid, their_old):
    """Waits for both, which write their title after a start."""
    def look():
        text = anonymous(title(monitor), pid, old)
        return text if text.startswith("d: monitoring pid N (") else None
    ours = wait_until(look, what="our title")
    wait_until(lambda: anonymous(title(their_monitor), their_pid,
                                 their_old) == ours, what=ours)
