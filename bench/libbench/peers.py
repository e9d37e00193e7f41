"""reeve and the managers that it is measured beside, with one interface.

    with Nginx(folder) as peer:
        peer.start(Pool(workers=4, port=8080))
        peer.managers(), peer.workers()       # pids
        peer.reload()                         # returns when it is complete

Each runs in a temporary folder of its own, on loopback, and is ended by its
own pid.  All but nginx and gunicorn, which bring their own workers, run the
same program on an inherited socket.
"""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lib import paths
from lib.reeve import Reeve as ReeveUnderTest

from .measure import children, open_pidfds, read, wait_for, wait_pidfds

STOP_TIMEOUT = 30


@dataclass
class Pool:
    """What a manager is asked to run: servers on `port`, or without one
    sleepers."""
    workers: int = 4
    port: int = 0
    boot_ms: int = 0
    reuseport: bool = False
    program: list = None  # None: the C example.
    version: int = 1


class Peer:
    name = ""
    sleeps = True  # Can run any program, sleepers too.
    processes_per_worker = 1

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix=f"bench-{self.name}-"))
        self.process = None
        self.pool = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self, pool):
        """Writes what is not part of the time that a start takes."""

    def popen(self, command, stdin=subprocess.DEVNULL):
        with open(self.folder / "output", "ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=stdin,
                stdout=output, stderr=output, cwd=self.folder)

    def sleeper(self):
        """The sleepers' program; its own name tells it from all others."""
        path = self.folder / "benchsleeper"
        if not path.exists():
            shutil.copy("/bin/sleep", path)
        return [str(path), "100000"]

    def shell(self, descriptor):
        """A shell script that runs the pool's program.  The socket, which is
        `descriptor` there, becomes 3; None: it is passed already."""
        pool = self.pool
        if not pool.port:
            return "exec " + " ".join(self.sleeper())
        script = f"sleep {pool.boot_ms / 1e3}; " if pool.boot_ms else ""
        program = " ".join(pool.program or paths.EXAMPLES["c"])
        if descriptor is None:
            return script + f"exec {program}"
        return (script + "export LISTEN_FDS=1 LISTEN_PID=$$;"
                f" exec {program} 3<&{descriptor}")

    def wait_up(self, timeout=60):
        """Until all workers are there and one answers, if they are servers."""
        def is_up():
            if self.process and self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: "
                                   + read(self.folder / "output")[-500:])
            if len(self.workers()) < self.pool.workers:
                return False
            return not self.pool.port or answers(self.pool.port)
        if wait_for(is_up, timeout) is None:
            raise RuntimeError(f"{self.name} did not start: "
                               + read(self.folder / "output")[-500:])

    def stop(self):
        """Ends it with all its workers."""
        ended = open_pidfds(self.workers())
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_TIMEOUT)
        return wait_pidfds(ended, STOP_TIMEOUT)

    def managers(self):
        return [self.process.pid]

    def workers(self):
        return children(self.process.pid)

    def parent(self, worker):
        """The process that starts a worker again."""
        return int(read(f"/proc/{worker}/stat").rpartition(")")[2].split()[1])


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"200" in client.recv(100)
    except OSError:
        return False


class ReevePeer(Peer):
    name = "reeve"

    def __init__(self):
        super().__init__()
        self.reeve = ReeveUnderTest(self.folder, name="bench")
        self.output_seen = 0

    def __exit__(self, *_):
        self.reeve.close(check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def config(self, **more):
        pool = self.pool
        service = {"workers": pool.workers, "restart": "always",
                   # The policy for crash loops is not what is measured.
                   "backoff": {"min": "1ms", "max": "1ms"}, "max_restarts": 0,
                   "environment": {"VERSION": str(pool.version)}}
        if not pool.port:
            service.update(command=self.sleeper(), ready="alive",
                           ready_after="1ms")
        else:
            command = pool.program or paths.EXAMPLES["c"]
            if pool.boot_ms:
                command = ["sh", "-c", self.shell(None)]
            service.update(command=command, ready="notify",
                           listen=f"127.0.0.1:{pool.port}",
                           reuseport=pool.reuseport)
        return {"services": {"web": {**service, **more}}}

    def start(self, pool):
        self.pool = pool
        self.reeve.write_config(self.config())
        self.reeve.start(timeout=60)
        self.process = self.reeve.process

    def start_daemon(self, pool):
        """`reeve start`: returns when everything is ready."""
        self.pool = pool
        self.reeve.write_config(self.config())
        self.reeve.cli("start", "-c", self.reeve.config_path, target=False,
                       check=True, timeout=60)

    def managers(self):
        status = self.reeve.status()
        return [status["keeper"]["pid"], status["master"]["pid"]]

    def workers(self):
        return [w["pid"] for w in self.reeve.workers()]

    def hangup(self):
        """A new version, so that there is something to reload, and HUP."""
        self.pool.version += 1
        self.reeve.write_config(self.config())
        return self.reeve.keeper_pid()

    def reload(self):
        self.hangup()
        self.reeve.cli("reload", check=True, timeout=60)

    def stop(self):
        self.reeve.stop()


class Nginx(Peer):
    name = "nginx"
    sleeps = False

    def start(self, pool):
        self.pool = pool
        reuseport = " reuseport" if pool.reuseport else ""
        (self.folder / "nginx.conf").write_text(f"""
user root; daemon off; pid {self.folder}/pid; error_log {self.folder}/error;
worker_processes {pool.workers};
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {self.folder}/body;
    proxy_temp_path {self.folder}/proxy;
    fastcgi_temp_path {self.folder}/fastcgi;
    uwsgi_temp_path {self.folder}/uwsgi;
    scgi_temp_path {self.folder}/scgi;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{pool.port}{reuseport};
        location / {{ return 200 "pid=$pid generation=-\\n"; }}
    }}
}}
""", encoding="utf-8")
        self.popen(["nginx", "-p", self.folder, "-c",
                    self.folder / "nginx.conf"])
        self.wait_up()

    def hangup(self):
        return self.process.pid

    def reload(self):
        old = open_pidfds(self.workers())
        os.kill(self.hangup(), signal.SIGHUP)
        return wait_pidfds(old, STOP_TIMEOUT)


class Gunicorn(Peer):
    name = "gunicorn"
    sleeps = False

    def start(self, pool):
        self.pool = pool
        (self.folder / "app.py").write_text(f"""
import os, time
time.sleep({pool.boot_ms / 1e3})
def app(environ, start_response):
    body = b"pid=%d generation=-\\n" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"),
                              ("Content-Length", str(len(body)))])
    return [body]
""", encoding="utf-8")
        self.popen(["gunicorn", "-w", str(pool.workers), "-b",
                    f"127.0.0.1:{pool.port}", "app:app"])
        self.wait_up()

    def hangup(self):
        return self.process.pid

    def reload(self):
        old = open_pidfds(self.workers())
        os.kill(self.hangup(), signal.SIGHUP)
        return wait_pidfds(old, STOP_TIMEOUT)


class S6(Peer):
    name = "s6"
    socket_number = 9  # What the run scripts find the socket as.

    processes_per_worker = 2  # Each has its s6-supervise.

    def prepare(self, pool):
        self.pool = pool
        scan = self.folder / "scan"
        scan.mkdir()
        for i in range(pool.workers):
            service = scan / f"w{i:04}"
            service.mkdir()
            # Ready, as s6 understands it, is a line on this descriptor.
            (service / "notification-fd").write_text("4\n")
            script = self.shell(self.socket_number)
            script = script.replace("export LISTEN", "echo >&4; exec 4>&-; "
                                    "export LISTEN")
            (service / "run").write_text("#!/bin/sh\n" + script + "\n")
            (service / "run").chmod(0o755)

    def start(self, pool, wait=True):
        if self.pool is None:
            self.prepare(pool)
        scan = self.folder / "scan"
        command = ["s6-svscan", "-t0", "-c", "4000", scan]
        if pool.port:
            with socket.create_server(("127.0.0.1", pool.port),
                                      backlog=511) as listener:
                self.popen(["sh", "-c", f'exec "$@" {self.socket_number}<&0'
                            " </dev/null", "sh", *command], stdin=listener)
        else:
            self.popen(command)
        if wait:
            self.wait_up()

    def managers(self):
        return [self.process.pid, *children(self.process.pid)]

    def workers(self):
        return [worker for supervise in children(self.process.pid)
                for worker in children(supervise)]

    def reload(self):
        """One service after the other, each waited for."""
        for service in sorted((self.folder / "scan").glob("w*")):
            subprocess.run(["s6-svc", "-wR", "-T", "10000", "-r", service],
                           check=False, stdout=subprocess.DEVNULL)

    def restart_all(self):
        subprocess.run("for service in scan/w*; do s6-svc -r $service; done",
                       shell=True, cwd=self.folder, check=False)

    def stop(self):
        ended = open_pidfds(self.workers() + children(self.process.pid))
        subprocess.run(["s6-svscanctl", "-t", self.folder / "scan"],
                       check=False)
        self.process.wait(STOP_TIMEOUT)
        return wait_pidfds(ended, STOP_TIMEOUT)


class Supervisord(Peer):
    name = "supervisord"

    def start(self, pool, wait=True):
        self.pool = pool
        run = self.folder / "run.sh"
        run.write_text("#!/bin/sh\n" + self.shell(0) + "\n")
        run.chmod(0o755)
        kind, address = "program", ""
        if pool.port:
            kind = "fcgi-program"
            address = f"socket=tcp://127.0.0.1:{pool.port}\n"
        (self.folder / "supervisord.conf").write_text(f"""
[supervisord]
logfile={self.folder}/log
pidfile={self.folder}/pid
childlogdir={self.folder}
nodaemon=true
minfds=16384
user=root
[unix_http_server]
file={self.folder}/sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[{kind}:web]
command={run}
process_name=web_%(process_num)04d
numprocs={pool.workers}
stdout_logfile=NONE
stderr_logfile=NONE
{address}
""", encoding="utf-8")
        self.popen(["/usr/bin/supervisord", "-c",
                    self.folder / "supervisord.conf"])
        if wait:
            self.wait_up()

    def call(self, method, *parameters):
        from supervisor.xmlrpc import SupervisorTransport
        from xmlrpc.client import ServerProxy
        transport = SupervisorTransport(None, None,
                                        f"unix://{self.folder}/sock")
        server = ServerProxy("http://127.0.0.1", transport=transport)
        return getattr(server.supervisor, method)(*parameters)

    def reload(self):
        """One process after the other, each until it has lived startsecs."""
        for i in range(self.pool.workers):
            self.call("stopProcess", f"web:web_{i:04}")
            self.call("startProcess", f"web:web_{i:04}")

    def restart_all(self):
        self.call("stopProcessGroup", "web")
        self.call("startProcessGroup", "web", False)


ALL = [ReevePeer, Nginx, S6, Supervisord, Gunicorn]
