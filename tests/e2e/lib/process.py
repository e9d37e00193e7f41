"""Processes, ports and waiting."""
import os
import select
import socket
import time


def wait_until(predicate, timeout=10, what="", process=None):
    """Waits until `predicate()` is true, and returns what it returned.

    This is the one place that asks again and again; everything else waits
    for an event.  If `process` (a Popen) ends meanwhile, it fails at once.
    """
    end = time.monotonic() + timeout
    poll = select.poll()
    if process is not None and process.poll() is None:
        descriptor = os.pidfd_open(process.pid)
        poll.register(descriptor, select.POLLIN)
    else:
        descriptor = -1
    try:
        while True:
            value = predicate()
            if value:
                return value
            if process is not None and process.poll() is not None:
                raise AssertionError(
                    f"{what or predicate}: the process ended with "
                    f"{process.returncode}")
            if time.monotonic() > end:
                raise AssertionError(
                    f"{what or predicate}: not within {timeout} s")
            poll.poll(10)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def free_port(kind=socket.SOCK_STREAM):
    """A port of 127.0.0.1 that nobody has now.

    The kernel gives out the ports of its ephemeral range again, and the load
    client's connections take them too, so it is one from below that range.
    """
    start = 10000 + os.getpid() * 37 % 15000
    for port in range(start, start + 5000):
        if port in free_port.given:
            continue
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        free_port.given.add(port)
        return port
    raise AssertionError("no free port")


free_port.given = set()


def wait_gone(pid, timeout=10):
    """Waits until the process `pid` has ended (a zombie has)."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(timeout * 1000):
            raise AssertionError(f"process {pid} still runs after {timeout} s")
    finally:
        os.close(descriptor)


def status_fields(pid):
    """/proc/PID/status as a dict; None when the process is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file
                        if ":\t" in line)
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_running(pid):
    """Whether the process is there and not a zombie."""
    fields = status_fields(pid)
    return fields is not None and not fields["State"].startswith(("Z", "X"))


def children(pid):
    """The pids of the children of a process."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children",
                  encoding="utf-8") as file:
            return [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def marked(marker):
    """{pid: command line} of all processes with `marker` in their
    environment."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if marker.encode() not in file.read().split(b"\0"):
                    continue
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                found[int(entry)] = file.read().replace(
                    b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
    return found
