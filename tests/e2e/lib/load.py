"""The load client (tests/load/load.c) under a driver.

    with Load(port, keep_alive=True, connections=16) as load:
        reeve.cli("reload")
    load.assert_nothing_lost()
    print(load.result["p99_ms"])

Entering waits for the first answers, so requests are under way in the body;
leaving lets every request in flight end.
"""
import json
import os
import select
import subprocess
import time

from . import paths
from .process import SOON_S, wait_until


class Load:
    def __init__(self, port, connections=16, keep_alive=False, think_ms=0,
                 path="/", timeout_ms=15000, expect=None, host="127.0.0.1",
                 wait=True):
        self.command = [str(paths.LOAD), "--port", str(port), "--host", host,
                        "--connections", str(connections), "--path", path,
                        "--think-ms", str(think_ms),
                        "--timeout-ms", str(timeout_ms), "--until-eof"]
        if keep_alive:
            self.command.append("--keep-alive")
        if expect is not None:
            self.command += ["--expect", expect]
        self.timeout = timeout_ms / 1000 + SOON_S
        self.wait = wait
        self.result = None
        self.process = None
        self.received = b""

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        if self.wait:
            try:
                self.wait_for(lambda now: now["ok"] > 0)
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_):
        try:
            self.process.stdin.close()
            while self.process.poll() is None or not self.result:
                line = self._line()
                if line is None:
                    break
                self.result = line
            self.process.wait(self.timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()

    def _line(self):
        """The next object of its output; None at the end."""
        end = time.monotonic() + self.timeout
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self.received:
            left = end - time.monotonic()
            if left < 0 or not select.select([descriptor], [], [], left)[0]:
                raise AssertionError("the load client says nothing")
            data = os.read(descriptor, 65536)
            if not data:
                return None
            self.received += data
        line, self.received = self.received.split(b"\n", 1)
        return json.loads(line)

    def snapshot(self):
        """What it has counted so far."""
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        line = self._line()
        assert line is not None, "the load client ended early"
        return line

    def wait_for(self, predicate, timeout=SOON_S):
        """Waits until `predicate(snapshot)` is true; returns the snapshot."""
        def look():
            now = self.snapshot()
            return now if predicate(now) else None
        return wait_until(look, timeout, "load", self.process)

    def more(self, n=100, timeout=SOON_S):
        """Waits until `n` more requests have been answered."""
        target = self.snapshot()["ok"] + n
        return self.wait_for(lambda now: now["ok"] >= target, timeout)

    def workers(self):
        """The answering processes of the result: those of a generation have
        'pid', 'generation', 'n', 'first_ms', 'last_ms'."""
        return (self.result or self.snapshot())["workers"]

    def first_ms(self, generation):
        """When the first answer of a generation came (CLOCK_MONOTONIC)."""
        return min(w["first_ms"] for w in self.workers()
                   if w["generation"] == str(generation))

    def last_ms(self, generation):
        """When the last answer of a generation came."""
        return max(w["last_ms"] for w in self.workers()
                   if w["generation"] == str(generation))

    def assert_nothing_lost(self, at_least=1):
        """At least so many answers, and not one request without its own."""
        now = self.result or self.snapshot()
        assert now["lost"] == 0, json.dumps(
            {key: value for key, value in now.items() if key != "workers"})
        assert now["ok"] >= at_least, now["ok"]
