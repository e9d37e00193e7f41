"""Programs that have nothing to do with each other share a zone: workers of
examples/c-zone, and one that is started by itself and opens the zone."""
import errno
import fcntl
import os
import pty
import re
import socket
import struct
import subprocess
import termios

import pytest

from lib import paths
from lib.process import wait_gone, wait_until

EXAMPLES = paths.BUILD / "examples" / "c-zone"
REPORT = EXAMPLES / "example-report"


def config(port, **zone):
    """As examples/c-zone/reeve.yaml has it."""
    return {"zones": {"visits": dict({"size": "1MiB", "max_size": "16MiB",
                                      "tag": "visits-1"}, **zone)},
            "services": {"visits": {
                "command": str(EXAMPLES / "example-visits"), "workers": 2,
                "listen": f"127.0.0.1:{port}", "ready_after": "10ms",
                "backoff": {"min": "1ms", "max": "1ms"},
                "zones": "visits"}}}


def visit(port):
    """The line that a worker answers."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        return client.makefile().readline().strip()


def count(port):
    """The number of this visit, when it is not too soon for one."""
    match = re.fullmatch(r"127\.0\.0\.1: visit (\d+), served by (\d+)",
                         wait_until(lambda: visit(port), what="an answer"))
    assert match
    return int(match[1])


def report(path, *words, status=0):
    done = subprocess.run([str(REPORT), str(path), *words], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


@pytest.mark.parametrize("is_file", [False, True])
def test_they_see_what_the_other_does(reeve, port, tmp_path, is_file):
    file = tmp_path / "visits.zone"
    made = reeve(config(port, **({"file": str(file)} if is_file else {})))
    made.start()
    path = file if is_file else made.cli("ctl", "zone/fd",
                                         "visits").stdout.strip()
    assert count(port) == 1
    assert report(path) == "127.0.0.1 1\n"
    pids = made.pids()
    for pid in pids:
        made.kill(pid)
    for pid in pids:  # Not one of them accepts it and then dies.
        wait_gone(pid)
    assert count(port) == 2
    assert report(path) == "127.0.0.1 2\n"
    assert made.cli("dict", "visits", "get", "127.0.0.1").stdout == "2\n"
    # The other way round, also with what it set for somebody else.
    report(path, "forget", "127.0.0.1")
    assert report(path) == ""
    made.cli("dict", "visits", "set", "127.0.0.1", "41", check=True)
    assert count(port) == 42
    assert made.cli("reload").returncode == 0
    assert report(path) == "127.0.0.1 42\n"
    if is_file:  # Without any reeve, and then with the next one.
        assert made.stop() == 0
        assert report(path) == "127.0.0.1 42\n"
        report(path, "forget", "127.0.0.1")
        made.start()
        assert count(port) == 1


def test_the_limit_holds_over_all_workers(reeve, port):
    made = reeve(config(port))
    made.start()
    n_served = 0
    while visit(port) != "127.0.0.1: not so fast":
        n_served += 1
    assert n_served >= 11  # The first one, and those that wait.
    assert made.cli("dict", "visits", "get",
                    "127.0.0.1").stdout == f"{n_served}\n"


def test_what_the_other_refuses(reeve, port, tmp_path):
    made = reeve(config(port, tag="visits-2"))
    made.start()
    path = made.cli("ctl", "zone/fd", "visits").stdout.strip()
    assert 'has tag "visits-2", not "visits-1"' in report(path, status=1)
    (tmp_path / "text").write_text("no zone")
    assert "not a zone" in report(tmp_path / "text", status=1)
    assert "usage" in report(tmp_path / "nothing", status=1)


def test_the_configuration_of_the_example(reeve):
    path = paths.ROOT / "examples" / "c-zone" / "reeve.yaml"
    made = reeve()
    done = made.cli("check", str(path), target=False)
    # The program may not have been built in the folder that it names.
    assert done.returncode == 0 or "example-visits" in done.stderr, done.stderr
    assert done.stderr.count("\n") <= 1


def read_terminal(terminal):
    """All that was written there, until nobody has it open any more."""
    shown = b""
    with open(terminal, "rb", buffering=0) as file:
        try:
            while piece := file.read(4096):
                shown += piece
        except OSError as error:
            assert error.errno == errno.EIO
    return shown


@pytest.mark.parametrize("columns, width", [(80, 80), (132, 128), (9, 16)])
def test_a_map_is_as_wide_as_the_terminal(reeve, port, columns, width):
    made = reeve(config(port, size="8MiB"))
    made.start()
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ,
                    struct.pack("HHHH", 50, columns, 0, 0))
        os.execve(str(paths.REEVE),
                  ["reeve", "zone", "-t", made.name, "map", "visits"],
                  made.environment)
    shown = read_terminal(terminal)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(shown.splitlines()[0]) == width
