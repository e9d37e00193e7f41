"""ovsdb-server, sessions of ours and of Python's ovs, certificates."""
import collections
import json
import os
import re
import shutil
import subprocess
import threading
import time

import pytest

from . import paths
from .process import SOON_S

REEVE_TEST = paths.BUILD / "tests" / "programs" / "reeve-test"
PYTHON = "/usr/bin/python3"


def need(*programs):
    """Skips the test if one of Debian's programs is not there."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"no {program} here")


def need_python_ovs():
    if subprocess.run([PYTHON, "-c", "import ovs.jsonrpc"],
                      capture_output=True, check=False).returncode:
        pytest.skip("no python3-openvswitch here")


class Lines:
    """A program that is spoken to by lines and answers by lines."""

    def __init__(self, arguments, environment=None, errors=None):
        self.lines = []
        self.unread = []
        self.condition = threading.Condition()
        self.is_over = False
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            env=environment)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            with self.condition:
                self.lines.append(line.rstrip("\n"))
                self.unread.append(self.lines[-1])
                self.condition.notify_all()
        with self.condition:
            self.is_over = True
            self.condition.notify_all()

    def say(self, *lines):
        self.process.stdin.write("".join(line + "\n" for line in lines))
        self.process.stdin.flush()

    def expect(self, pattern, timeout=SOON_S, in_order=False):
        """Takes the first line that fits, of those not taken yet, and gives
        its match; with `in_order` those before it are taken too."""
        expression = re.compile(pattern)
        end = time.monotonic() + timeout
        with self.condition:
            while True:
                for i, line in enumerate(self.unread):
                    match = expression.match(line)
                    if match:
                        del self.unread[0 if in_order else i:i + 1]
                        return match
                left = end - time.monotonic()
                if self.is_over or left <= 0:
                    raise AssertionError(
                        f"no line as {pattern!r}:\n" + "\n".join(self.lines))
                self.condition.wait(left)

    def close(self):
        """Ends the program by the end of its input; its exit status."""
        if self.process.poll() is None:
            try:
                self.process.stdin.close()
                self.process.wait(SOON_S)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.process.kill()
        self.thread.join(SOON_S)
        self.process.stdout.close()
        return self.process.wait(SOON_S)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        status = self.close()
        if kind is None:
            assert status == 0, "\n".join(self.lines)


class Session(Lines):
    """Our session, by `reeve-test test-session`."""

    def __init__(self, *arguments):
        if not REEVE_TEST.exists():
            pytest.skip(f"{REEVE_TEST} is not built")
        super().__init__([REEVE_TEST, "test-session", *arguments])

    def send(self, command, method, params=()):
        """The id of a call; None if there was no connection."""
        self.say(f"{command} {method} {json.dumps(params)}")
        match = self.expect("(not-)?sent (.*)")
        return None if match[1] else match[2]

    def call(self, method, params=()):
        """What the peer answered; fails if it was an error."""
        number = self.send("call", method, params)
        assert number is not None, (method, params)
        match = self.expect(f"(reply|error|lost) {number} (.*)")
        assert match[1] == "reply", match[0]
        return json.loads(match[2])

    def status(self):
        self.say("status")
        return json.loads(self.expect("status (.*)")[1])

    def outcomes(self):
        """{id: [(kind, text)]} of all calls that have one so far."""
        found = collections.defaultdict(list)
        with self.condition:
            for line in self.lines:
                kind, _, rest = line.partition(" ")
                if kind in ("reply", "error", "lost"):
                    number, _, text = rest.partition(" ")
                    found[number].append((kind, text))
        return found


class PythonSession(Lines):
    """A session of Python's ovs, by ovs_session.py beside this file."""

    def __init__(self, *arguments):
        need_python_ovs()
        script = paths.ROOT / "tests" / "e2e" / "lib" / "ovs_session.py"
        super().__init__([PYTHON, script, *arguments])


class Database:
    """An ovsdb-server on one database file, which outlives it."""

    def __init__(self, folder, schema, remotes, options=()):
        need("ovsdb-server", "ovsdb-tool")
        self.folder = folder
        folder.mkdir()
        self.file = folder / "db"
        (folder / "schema").write_text(json.dumps(schema))
        subprocess.run(["ovsdb-tool", "create", self.file, folder / "schema"],
                       check=True)
        self.remotes = remotes
        self.options = options
        self.process = None

    def log(self):
        return (self.folder / "log").read_text()

    def start(self):
        with open(self.folder / "log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                ["ovsdb-server", str(self.file), "--no-chdir",
                 f"--unixctl={self.folder}/ctl", *self.options,
                 *(f"--remote={remote}" for remote in self.remotes)],
                stderr=log, env=dict(os.environ, OVS_RUNDIR=str(self.folder)))
        return self

    def kill(self):
        self.process.kill()
        self.process.wait(SOON_S)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(SOON_S)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Certificates:
    """An authority, and a server and a client that it vouches for."""

    def __init__(self, folder):
        need("openssl")
        self.folder = folder
        folder.mkdir()
        self._run("req", "-x509", "-nodes", "-subj", "/CN=ca", "-keyout",
                  "ca-key", "-out", "ca", *self.KEY)
        for name in ("server", "client"):
            self._run("req", "-nodes", "-subj", f"/CN={name}", "-keyout",
                      f"{name}-key", "-out", f"{name}-request", *self.KEY)
            self._run("x509", "-req", "-in", f"{name}-request", "-CA", "ca",
                      "-CAkey", "ca-key", "-CAcreateserial", "-days", "2",
                      "-out", name)

    KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")

    def _run(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True,
                       capture_output=True)

    def options(self, name, form="--{}={}"):
        """The options by which a program shows itself as `name`."""
        return [form.format(option, self.folder / file) for option, file in
                (("private-key", f"{name}-key"), ("certificate", name),
                 ("ca-cert", "ca"))]
