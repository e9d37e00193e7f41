"""Processes, ports and waiting."""
import os
import select
import signal
import socket
import time

# How long what happens soon may take, on a machine that is very busy.  It is
# waited for in vain only by a test that fails.
SOON_S = 30


def wait_until(predicate, timeout=SOON_S, what="", process=None):
    """Waits until `predicate()` is true, and returns what it returned.

    This is the one place that asks again and again; everything else waits
    for an event.  If `process` (a Popen) ends meanwhile, it fails at once,
    unless the predicate is true then.
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
            # Looked at before the predicate: what a process does last may
            # be what is waited for.
            has_ended = process is not None and process.poll() is not None
            value = predicate()
            if value:
                return value
            if has_ended:
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


def is_listening(path):
    """Whether somebody takes connections at a socket: its file is there a
    moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def wait_gone(pid, timeout=SOON_S):
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


def wait_stopped(pid):
    """Waits until a process that was sent SIGSTOP does nothing any more."""
    def look():
        fields = status_fields(pid)
        assert fields is not None, f"process {pid} has ended"
        return fields["State"].startswith(("T", "Z", "X"))
    wait_until(look, what=f"process {pid} to stop")


def wait_program(pid, name):
    """Waits until the process executes the program of that name: right after
    its start it is still what started it."""
    def look():
        try:
            return os.readlink(f"/proc/{pid}/exe").endswith("/" + name)
        except FileNotFoundError:
            return False
    wait_until(look, what=f"process {pid} to be {name}")


def gated(gate, command):
    """A command that becomes `command` when the file `gate` is there: a start
    that takes until the test has seen enough."""
    return ["sh", "-c", 'while ! [ -e "$0" ]; do sleep 0.01; done; exec "$@"',
            str(gate), *command]


def children(pid):
    """The pids of the children of a process."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children",
                  encoding="utf-8") as file:
            return [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def read_of(pid, name):
    """The bytes of /proc/PID/NAME; none if the process has ended, and None if
    they are nobody's business."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""
    except PermissionError:
        return None


def is_marked(pid, marker):
    """Whether `marker` is in the environment of a process; False when it has
    ended.

    In the middle of an execve(2) a process has memory, but no environment to
    be seen: so who has none is looked at again, and then never more, unless
    it becomes another program.
    """
    looks = []
    try:
        identity = pid, os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False  # It has ended, or is the kernel's, or a stranger's.
    if identity in is_marked.without:
        return False

    def look():
        looks.append(read_of(pid, "environ"))
        return looks[-1] != b"" or len(looks) == 20 or not is_running(pid)
    wait_until(look)
    if len(looks) == 20:
        is_marked.without.add(identity)
    return marker.encode() in (looks[-1] or b"").split(b"\0")


is_marked.without = set()


def marked(marker):
    """{pid: command line} of all processes with `marker` in their
    environment."""
    return {int(entry): (read_of(entry, "cmdline") or b"").replace(
                b"\0", b" ").decode(errors="replace").strip()
            for entry in os.listdir("/proc")
            if entry.isdigit() and is_marked(int(entry), marker)}


def send_signal(pid, number, marker, missing_ok=False):
    """Sends a signal to the process `pid` if it has `marker`: to that very
    one, also if it ends meanwhile and another gets its number.  With
    `missing_ok` it may have ended before."""
    complaint = f"process {pid} has ended"
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        assert missing_ok, complaint
        return
    try:
        # What is read while it executes another program may be cut short.
        is_ours = any(is_marked(pid, marker) for _ in range(5))
        if is_ours:
            signal.pidfd_send_signal(descriptor, number)
        elif is_running(pid):
            complaint = f"{pid} is not ours"
    except ProcessLookupError:
        is_ours = False
    finally:
        os.close(descriptor)
    assert is_ours or missing_ok, complaint
