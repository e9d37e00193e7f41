"""One reeve under test: starts it, asks it, ends it, and looks for leftovers.

    with Reeve(tmp_path, {"services": {"web": {...}}}) as reeve:
        reeve.start()                         # `reeve run -c`, until ready
        assert reeve.status()["services"][0]["generation"] == 1
        assert reeve.cli("reload").returncode == 0

A configuration is a dict (JSON is YAML), or text.  Its own folder holds the
runtime files, so many can run side by side.
"""
import glob
import json
import os
import signal
import subprocess
import uuid
from pathlib import Path

from . import paths
from .control import Control
from .process import (SOON_S, marked, send_signal, wait_gone, wait_stopped,
                      wait_until)


class Reeve:
    # How long the last processes may take to go once the keeper has ended.
    LEAVE_S = 10

    def __init__(self, folder, config=None, name="test", environment=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.runtime_dir = self.folder / "run"
        self.runtime_dir.mkdir(mode=0o700, exist_ok=True)
        self.config_path = self.folder / f"{name}.yaml"
        self.output_path = self.folder / f"{name}.out"
        self.marker = f"REEVE_E2E={uuid.uuid4()}"
        self.environment = dict(os.environ,
                                REEVE_RUNDIR=str(self.runtime_dir),
                                REEVE_E2E=self.marker.split("=")[1])
        for inherited in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID",
                          "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID"):
            self.environment.pop(inherited, None)
        self.environment.update(environment or {})
        self.process = None
        self.killed = set()
        self.config = None
        if config is not None:
            self.write_config(config)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(check=kind is None)

    # Starting and stopping.

    def write_config(self, config):
        """Writes the file; takes effect at the next start or reload."""
        self.config = config
        text = config if isinstance(config, str) else json.dumps(config,
                                                                 indent=2)
        self.config_path.write_text(text, encoding="utf-8")

    def start(self, *arguments, ready=True, timeout=SOON_S):
        """Runs it in the foreground: `reeve run -c FILE`, or `reeve` with
        `arguments`.  Waits until every worker is ready unless told not to."""
        arguments = arguments or ("run", "-c", str(self.config_path))
        with open(self.output_path, "ab") as output:
            self.process = subprocess.Popen(
                [str(paths.REEVE), *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, env=self.environment,
                cwd=self.folder)
        if ready:
            self.wait_ready(timeout)
        return self

    def stop(self, timeout=SOON_S):
        """`reeve stop`, until the process started here has ended; its exit
        status, or None if it was started as a daemon."""
        self.cli("stop", check=True, timeout=timeout)
        return None if self.process is None else self.process.wait(timeout)

    def close(self, check=True):
        """Ends whatever is left.  With `check`, what was left after a stop
        is a failure: processes, and a keeper that does not end."""
        complaints = []
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(SOON_S)
            except subprocess.TimeoutExpired:
                complaints.append("the keeper did not end on SIGTERM")
        elif self.process is None and marked(self.marker):
            self.cli("stop", timeout=SOON_S)
        try:
            wait_until(lambda: not marked(self.marker), self.LEAVE_S)
        except AssertionError:
            complaints.append(f"left behind: {marked(self.marker)}")
        for _ in range(5):  # What one of them starts while it is killed.
            left = marked(self.marker)
            for pid in left:
                self.kill(pid, missing_ok=True)
            for pid in left:
                wait_gone(pid)
        if self.process is not None:
            self.process.wait(SOON_S)
        assert not (check and complaints), complaints

    # Asking.

    def cli(self, verb, *arguments, target=True, check=False, timeout=60,
            **options):
        """Runs `reeve VERB -t NAME ARGUMENTS`, to its end, and gives the
        CompletedProcess, its output as text."""
        target = ["-t", self.name] if target else []
        options.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(
            [str(paths.REEVE), verb, *target, *map(str, arguments)],
            env=self.environment, cwd=self.folder, text=True, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
            **options)
        assert not check or done.returncode == 0, (
            f"reeve {verb} {arguments}: {done.returncode}\n"
            f"{done.stdout}{done.stderr}")
        return done

    def status(self):
        """`reeve status --json`; None while it does not answer."""
        done = self.cli("status", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def control_path(self):
        """The control socket, NAME.PID.ctl beside NAME.pid."""
        pid = self.keeper_pid()
        path = self.runtime_dir / f"{self.name}.{pid}.ctl"
        if pid and path.exists():
            return path
        found = glob.glob(str(self.runtime_dir / f"{self.name}.*.ctl"))
        return Path(found[0]) if len(found) == 1 else None

    def control(self):
        """A connection to the control socket."""
        return Control(self.control_path())

    def ctl(self, method, *parameters):
        """The result of one call; raises ControlError."""
        with self.control() as control:
            return control.call(method, *parameters)

    def keeper_pid(self):
        """As the pidfile has it; None without one."""
        try:
            text = (self.runtime_dir / f"{self.name}.pid").read_text()
            return int(text)
        except (FileNotFoundError, ValueError):
            return None

    def master_pid(self):
        return self.status()["master"]["pid"]

    def service(self, name=None):
        """A service of the status, the first by default."""
        services = self.status()["services"]
        return next(s for s in services if name in (None, s["name"]))

    def workers(self, service=None, state=None):
        """The workers of a service, of one state if given."""
        return [w for w in self.service(service)["workers"]
                if state in (None, w["state"])]

    def pids(self, service=None):
        """The pids of the ready workers."""
        return [w["pid"] for w in self.workers(service, "ready")]

    def output(self):
        """What it and its workers have printed so far."""
        try:
            return self.output_path.read_text(encoding="utf-8",
                                              errors="replace")
        except FileNotFoundError:
            return ""

    # Acting.

    def kill(self, pid, number=signal.SIGKILL, missing_ok=False):
        """Sends a signal to a process of this reeve, and to no other.

        The one started here has ended when this returns, if it is killed:
        who waits for the others then must not take its end for a failure.
        One that is stopped does nothing any more.
        """
        send_signal(pid, number, self.marker, missing_ok)
        if number == signal.SIGKILL:
            self.killed.add(pid)
        if number == signal.SIGSTOP:
            wait_stopped(pid)
        if number == signal.SIGKILL and self.process \
                and pid == self.process.pid:
            self.process.wait(SOON_S)

    def kill_both(self):
        """Kills keeper and master, neither of which can do anything about
        the other; the workers go on."""
        status = self.status()
        keeper, master = status["keeper"]["pid"], status["master"]["pid"]
        # It is the keeper that is stopped, and dies last: a stopped master
        # whose keeper dies is an orphan, which the kernel continues.
        self.kill(keeper, signal.SIGSTOP)
        self.kill(master)
        wait_gone(master)
        self.kill(keeper)
        wait_gone(keeper)

    # Waiting.

    def wait_for_status(self, predicate, timeout=SOON_S, what="status"):
        """Waits until `predicate(status)` is true; returns the status."""
        def look():
            now = self.status()
            return now if now is not None and predicate(now) else None
        return wait_until(look, timeout, what, self._alive())

    def _alive(self):
        """The process to watch while waiting, unless it was meant to end."""
        process = self.process
        return process if process and process.poll() is None else None

    def wait_ready(self, timeout=SOON_S, n=None):
        """Waits until each service has as many workers as it wants (or the
        first one `n`), all ready, and none that `kill` has killed: of these
        the master may not know yet."""
        wanted = {}
        if isinstance(self.config, dict):
            wanted = {name: service.get("workers", 1) for name, service
                      in self.config["services"].items()}

        if n is not None:
            wanted[next(iter(wanted))] = n

        def is_ready(now):
            self.killed &= {w["pid"] for service in now["services"]
                            for w in service["workers"]}
            if self.killed:
                return False
            for service in now["services"]:
                workers = service["workers"]
                want = wanted.get(service["name"], len(workers) or 1)
                if isinstance(want, int) and len(workers) != want:
                    return False
                if any(w["state"] != "ready" for w in workers):
                    return False
            return True
        return self.wait_for_status(is_ready, timeout, "ready")

    def wait_output(self, text, timeout=SOON_S):
        """Waits until it has printed `text`."""
        return wait_until(lambda: text in self.output(), timeout,
                          f"output {text!r}", self._alive())
