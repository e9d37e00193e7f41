"""Real servers as workers, unmodified: two on one inherited socket, reloaded
under light load.  What was lost is printed with the configuration used; each
server that drains properly loses nothing."""
import json
import os
import shutil
import socket
import struct
import sys
import textwrap

import pytest

from lib import paths
from lib.load import Load
from lib.process import SOON_S, wait_until

RELOADS = 3
LOSSES = ("refused", "reset_fresh", "reset_reused", "eof_fresh", "eof_reused",
          "short", "wrong", "timeout")


def needs(*candidates):
    for program in candidates:
        found = shutil.which(program, path=os.environ["PATH"]
                             + ":/usr/sbin:/sbin")
        if found:
            return found
    pytest.skip(f"no {candidates[0]} here")


def requests_lost(load):
    """What was counted, without the kinds of loss that did not occur."""
    return {key: value for key, value in load.result.items()
            if key in ("ok", "lost")
            or (isinstance(value, int) and value and key in LOSSES)}


def reload_under_load(made, port, what, keep_alive=False, path="/"):
    """The losses of a few reloads under light load, printed."""
    first = made.pids()
    with Load(port, connections=4, keep_alive=keep_alive, think_ms=2,
              path=path) as load:
        for _ in range(RELOADS):
            load.more(20)
            made.cli("reload", check=True)
        load.more(20)
    assert not set(first) & set(made.pids())
    counted = requests_lost(load)
    print(f"{what}, {RELOADS} reloads, "
          f"{'keep-alive' if keep_alive else 'a connection a request'}: "
          f"{json.dumps(counted)}")
    return counted


def write(folder, name, text):
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


# Answers in the load client's words, so that wrong ones are counted.
WSGI = """
import os
def app(environ, start_response):
    body = f"pid={os.getpid()} generation={os.environ['REEVE_GENERATION']}\\n"
    start_response("200 OK", [("Content-Type", "text/plain"),
                              ("Content-Length", str(len(body)))])
    return [body.encode()]
"""

ASGI = """
import os
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = f"pid={os.getpid()} generation={os.environ['REEVE_GENERATION']}\\n"
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body.encode()})
"""

RACK = """
run lambda { |env|
  body = "pid=#{Process.pid} generation=#{ENV['REEVE_GENERATION']}\\n"
  [200, {"Content-Type" => "text/plain",
         "Content-Length" => body.bytesize.to_s}, [body]]
}
"""


def start(reeve, port, **service):
    made = reeve({"services": {"web": {
        "workers": 2, "listen": f"127.0.0.1:{port}", "ready": "notify",
        "start_timeout": "20s", **service}}})
    made.start()
    assert len(made.pids()) == 2
    return made


def test_gunicorn(reeve, port, tmp_path):
    """It takes the sockets by LISTEN_FDS and says READY=1."""
    program = needs("gunicorn")
    write(tmp_path, "app.py", WSGI)
    made = start(reeve, port, command=[
        program, "--chdir", str(tmp_path), "--workers", "1",
        "--graceful-timeout", "10", "app:app"])
    counted = reload_under_load(
        made, port, "gunicorn --workers 1, by LISTEN_FDS, ready: notify")
    assert counted["lost"] == 0
    assert made.stop() == 0


NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            default_type text/plain;
            return 200 "pid=$pid\\n";
        }}
    }}
}}
"""


@pytest.mark.parametrize("keep_alive", [False, True])
def test_nginx(reeve, port, tmp_path, keep_alive):
    """nginx takes over the sockets that its variable NGINX names, as after
    its own binary upgrade, and expects them in non-blocking mode: two that
    share a blocking one hang in accept(2) when the other was quicker.  With
    `master_process off` it dies of signal 11 then, whoever starts it (1.22).
    """
    program = needs("nginx")
    config = write(tmp_path, "nginx.conf", NGINX.format(
        folder=tmp_path, port=port))
    made = start(
        reeve, port, command=[program, "-p", str(tmp_path), "-c",
                              str(config)],
        listen={"address": f"127.0.0.1:{port}", "nonblocking": True},
        environment={"NGINX": "{fd:web};"}, stop_signal="QUIT",
        ready="alive", ready_after="300ms", drain_timeout="5s")
    counted = reload_under_load(
        made, port, "nginx, NGINX={fd:web};, stop_signal QUIT", keep_alive)
    if not keep_alive:
        assert counted["lost"] == 0
    else:
        # nginx closes a busy keep-alive connection without a word.
        assert counted["lost"] == (counted.get("eof_reused", 0)
                                   + counted.get("reset_reused", 0))
    assert made.stop() == 0


def test_uvicorn(reeve, port, tmp_path):
    program = needs("uvicorn")
    write(tmp_path, "app.py", ASGI)
    made = start(reeve, port, command=[
        program, "--app-dir", str(tmp_path), "--fd", "{fd:web}",
        "--no-access-log", "app:app"], ready="alive", ready_after="1500ms")
    counted = reload_under_load(made, port,
                                "uvicorn --fd {fd:web}, ready: alive")
    # When told to leave it closes connections whose request it has not read
    # yet (0.17): now and then one or two of them are lost.
    assert counted["lost"] == counted.get("reset_fresh", 0) + counted.get(
        "eof_fresh", 0)
    assert counted["lost"] <= RELOADS * 4
    assert made.stop() == 0


def test_puma(reeve, port, tmp_path):
    """With its request queue, its default, it now and then closes accepted
    connections whose request it has not read yet."""
    program = needs("puma")
    rackup = write(tmp_path, "config.ru", RACK)
    config = write(tmp_path, "puma.rb", "queue_requests false\n")
    made = start(reeve, port, command=[
        program, "-C", str(config), "-e", "production", "-w", "0",
        "-t", "4:4", "-b", f"tcp://127.0.0.1:{port}", str(rackup)],
        directory=str(tmp_path), ready="alive", ready_after="1500ms")
    counted = reload_under_load(
        made, port, "puma -b tcp://ADDRESS, by LISTEN_FDS, queue_requests "
        "false, ready: alive")
    assert counted["lost"] == 0
    assert made.stop() == 0


def fastcgi(port, script):
    """One FastCGI request; the body of the answer."""
    def record(kind, content):
        return struct.pack("!BBHHBx", 1, kind, 1, len(content), 0) + content

    def pair(name, value):
        return bytes([len(name), len(value)]) + name + value
    params = b"".join(pair(name, value) for name, value in [
        (b"SCRIPT_FILENAME", str(script).encode()),
        (b"REQUEST_METHOD", b"GET"), (b"SCRIPT_NAME", b"/app.php")])
    with socket.create_connection(("127.0.0.1", port), SOON_S) as connection:
        connection.sendall(record(1, struct.pack("!HB5x", 1, 0))
                           + record(4, params) + record(4, b"")
                           + record(5, b""))
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    body = b""
    while len(answer) >= 8:
        kind, length, padding = answer[1], *struct.unpack("!HB", answer[4:7])
        if kind == 6:
            body += answer[8:8 + length]
        answer = answer[8 + length + padding:]
    return body


def test_php_fpm(reeve, port, tmp_path):
    """php-fpm takes over the sockets that its variable FPM_SOCKETS names."""
    program = needs("php-fpm", "php-fpm8.2", "php-fpm8.4", "php-fpm7.4")
    script = write(tmp_path, "app.php", "<?php echo 'pid=' . getmypid();")
    config = write(tmp_path, "fpm.conf", f"""
        [global]
        daemonize = no
        error_log = /dev/stderr
        process_control_timeout = 5s
        [web]
        listen = 127.0.0.1:{port}
        pm = static
        pm.max_children = 2
        """ + ("user = www-data\n" if not os.geteuid() else ""))
    script.chmod(0o644)
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if str(folder) in ("/tmp", "/"):
            break
        folder.chmod(0o755)
    made = start(
        reeve, port, command=[program, "-y", str(config)],
        environment={"FPM_SOCKETS": f"127.0.0.1:{port}={{fd:web}}"},
        stop_signal="QUIT", ready="alive", ready_after="500ms")
    answers = lost = 0
    first = made.pids()
    for _ in range(RELOADS):
        made.cli("reload", "--no-wait", check=True)
        for _ in range(200):
            try:
                body = fastcgi(port, script)
                lost += b"pid=" not in body
                answers += 1
            except OSError:
                lost += 1
        made.wait_ready()
    wait_until(lambda: not set(first) & set(made.pids()))
    print(f"php-fpm, FPM_SOCKETS=ADDRESS={{fd:web}}, stop_signal QUIT, "
          f"process_control_timeout 5s, {RELOADS} reloads: {answers} "
          f"answers, {lost} lost")
    assert lost == 0
    assert made.stop() == 0


def test_go(reeve, port):
    command = paths.example("go")
    if command is None:
        pytest.skip("no go example here")
    made = start(reeve, port, command=command)
    for keep_alive in (False, True):
        counted = reload_under_load(made, port, "examples/go", keep_alive)
        assert counted["lost"] == 0
    assert made.stop() == 0


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
