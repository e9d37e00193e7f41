"""In a terminal, and under tools that signal a whole process group."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios

from lib import paths
from lib.process import SOON_S, free_port, wait_gone


def web(port, **more):
    return {"services": {"web": dict({
        "command": paths.EXAMPLES["c"], "workers": 2, "ready": "notify",
        "listen": f"127.0.0.1:{port}"}, **more)}}


def read_until(fd, *texts, seconds=SOON_S):
    """What the terminal shows, until it has shown all the texts."""
    shown = ""
    while not all(text in shown for text in texts):
        assert select.select([fd], [], [], seconds)[0], shown
        shown += os.read(fd, 4096).decode(errors="replace")
    return shown


def start_in_terminal(made, *texts):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(made.folder)
        os.execve(str(paths.REEVE),
                  ["reeve", "run", "-c", str(made.config_path)],
                  made.environment)
    read_until(terminal, "all services are ready", *texts)
    return pid, terminal


def test_resizing_a_terminal_drains_nobody(reeve, port):
    made = reeve(web(port))
    pid, terminal = start_in_terminal(made)
    before = made.pids()
    size = struct.pack("HHHH", 50, 132, 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
    # A reload behind it: whatever the signal did, it has done by then.
    assert made.cli("scale", "web", "3").returncode == 0
    assert set(before) <= set(made.pids())
    assert made.status()["state"] == "running"
    os.write(terminal, b"\x03")
    assert "stopping" in read_until(terminal, "ended")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)


def test_workers_lines_have_a_prefix_in_a_terminal(reeve, port):
    made = reeve(web(port, command=["sh", "-c", "echo hello; exec " +
                                    " ".join(paths.EXAMPLES["c"])]))
    pid, terminal = start_in_terminal(made, "web.0 | hello", "web.1 | hello")
    assert "web.1 | hello" in made.cli("logs", "web.1").stdout
    assert made.cli("stop").returncode == 0
    read_until(terminal, "ended")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)


def test_a_signal_to_the_group_counts_once(reeve, port):
    """Two that come within a moment, which is one here: the clock stands."""
    made = reeve(web(port))
    with subprocess.Popen(
            [str(paths.REEVE), "run", "-c", str(made.config_path)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=made.environment, cwd=made.folder,
            start_new_session=True) as process:
        for line in process.stderr:
            if "all services are ready" in line:
                break
        made.ctl("time/stop")
        # As timeout(1) does: the process, and then its group.
        os.kill(process.pid, signal.SIGTERM)
        os.killpg(process.pid, signal.SIGTERM)
        log = process.stderr.read()
        assert process.wait(SOON_S) == 0
    assert "stopping" in log and "stopping now" not in log


def test_reload_of_a_service_rolls_it(reeve, port):
    config = web(port)
    config["services"]["other"] = {
        "command": paths.EXAMPLES["c"], "ready": "notify",
        "listen": f"127.0.0.1:{free_port()}"}
    made = reeve(config)
    made.start()
    other = made.pids("other")
    web_pids = made.pids("web")
    assert made.cli("reload", "web").returncode == 0
    assert made.service("web")["generation"] == 2
    assert not set(web_pids) & set(made.pids("web"))
    assert made.pids("other") == other
    for pid in web_pids:
        wait_gone(pid)
    made.stop()
