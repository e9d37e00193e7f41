"""Figures from /proc, and tables."""
import os
import select
import statistics
import time


def read(path):
    """The text of a file of /proc; "" when the process is gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(pid):
    return [int(word) for word
            in read(f"/proc/{pid}/task/{pid}/children").split()]


def memory_kib(pids):
    """(RSS, PSS) of processes together, in KiB."""
    total = {"Rss:": 0, "Pss:": 0}
    for pid in pids:
        for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
            words = line.split()
            if words[0] in total:
                total[words[0]] += int(words[1])
    return total["Rss:"], total["Pss:"]


def switches(pids):
    """Voluntary context switches so far: each is a wait that ended."""
    total = 0
    for pid in pids:
        for line in read(f"/proc/{pid}/status").splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def cpu_seconds(pids):
    """Processor time that processes have used."""
    ticks = 0
    for pid in pids:
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12]) if fields else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def count_named(name):
    """How many processes have this command name (15 letters)."""
    count = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            count += read(f"/proc/{entry}/comm").strip() == name
    return count


def count_processes():
    """All threads of the machine: cheap to ask, unlike count_named()."""
    return int(read("/proc/loadavg").split()[3].split("/")[1])


def now_ms():
    return time.monotonic() * 1e3


def open_pidfds(pids):
    made = []
    for pid in pids:
        try:
            made.append(os.pidfd_open(pid))
        except ProcessLookupError:
            pass
    return made


def wait_pidfds(descriptors, timeout):
    """Waits until all those processes have ended, and closes; when the last
    one did, in ms, or None after `timeout` seconds."""
    poll = select.poll()
    left = set(descriptors)
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)
    end = time.monotonic() + timeout
    last = now_ms()
    while left and time.monotonic() < end:
        for descriptor, _ in poll.poll((end - time.monotonic()) * 1e3):
            poll.unregister(descriptor)
            left.discard(descriptor)
            last = now_ms()
    for descriptor in descriptors:
        os.close(descriptor)
    return None if left else last


def wait_for(predicate, timeout, every=0.002):
    """When `predicate()` became true, in ms; None after `timeout` seconds."""
    end = time.monotonic() + timeout
    pause = select.poll()
    while not predicate():
        if time.monotonic() > end:
            return None
        pause.poll(every * 1e3)
    return now_ms()


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def show(value, digits=1):
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return str(value)


def table(title, columns, rows, note=""):
    """Prints rows of (name, value, ...); a value is text, a number or None."""
    lines = [[str(c) for c in columns]]
    lines += [[show(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in lines)
              for i in range(len(columns))]
    print(f"\n## {title}")
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width)
                  for cell, width in zip(line[1:], widths[1:])]
        print("  ".join(cells).rstrip())
    if note:
        print(note)
    print(end="", flush=True)


def ratio(ours, theirs):
    """"0.42x": ours divided by theirs; "-" if there is nothing to divide."""
    if ours is None or not theirs:
        return "-"
    return f"{ours / theirs:.2f}x"
