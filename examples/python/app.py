#!/usr/bin/env python3
"""A small web service on a socket that it inherits, with proper draining.

Plain http.server with a thread a connection.  The listening socket comes from
the parent as descriptor 3 (LISTEN_FDS); started by hand, it binds $PORT.

On SIGTERM it stops accepting at once, answers what is in progress and the
next request of every kept-alive connection with "Connection: close", gives up
on connections that stay silent for DRAIN_IDLE_MS, and exits: no request lost.
"""
import os
import select
import signal
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

VERSION = os.environ.get("VERSION", "1")
DRAIN_IDLE = int(os.environ.get("DRAIN_IDLE_MS", "2000")) / 1000

# The interpreter writes a byte for each signal, and nobody reads it: from
# then on `draining` is readable for every thread that waits for it.
draining, signalled = os.pipe()
os.set_blocking(signalled, False)
signal.set_wakeup_fd(signalled)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: None)


def readable(*files, timeout=None):
    """Those of `files` that can be read, waiting for one at most `timeout`."""
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    events = poll.poll(None if timeout is None else max(0, timeout) * 1000)
    return [number for number, _ in events]


def is_draining():
    return bool(readable(draining, timeout=0))


def notify(message):
    """sd_notify(3): tells the manager about us."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        path = "\0" + path[1:] if path[0] == "@" else path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.sendto(message.encode(), path)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # Head and body leave in one write.
    timeout = 10  # For the rest of a request that has begun.

    def handle(self):
        self.close_connection = False
        while not self.close_connection and self.wait_for_request():
            self.handle_one_request()

    def has_bytes(self):
        """Whether a request is here already; never waits."""
        self.connection.settimeout(0)
        try:
            return bool(self.rfile.peek(1))
        except OSError:
            return False
        finally:
            self.connection.settimeout(self.timeout)

    def wait_for_request(self):
        """False when the client stayed silent too long or has closed."""
        if self.has_bytes():
            return True
        if draining in readable(draining, self.connection, timeout=60):
            readable(self.connection, timeout=DRAIN_IDLE)
        return self.has_bytes()

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/slow":
            time.sleep(int(parse_qs(url.query)["ms"][0]) / 1000)
        elif url.path == "/health":
            return self.reply(200, "ok\n")
        elif url.path != "/":
            return self.reply(404, "no such page\n")
        worker = os.environ.get("REEVE_WORKER", "-")
        generation = os.environ.get("REEVE_GENERATION", "-")
        self.reply(200, f"pid={os.getpid()} worker={worker}"
                        f" generation={generation} version={VERSION}\n")

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        if is_draining() and not self.has_bytes():
            self.send_header("Connection", "close")  # Ends handle(), too.
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # So server_close() waits for every connection.

    def shutdown_request(self, request):
        """Says goodbye first and closes after the client has: a close with
        unread bytes resets the connection, the last answer included."""
        try:
            request.shutdown(socket.SHUT_WR)
            request.settimeout(1)
            while request.recv(4096):
                pass
        except OSError:
            pass
        self.close_request(request)


def listener():
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=3)
    port = int(os.environ.get("PORT", "8080"))
    print(f"listening on http://127.0.0.1:{port}/", flush=True)
    return socket.create_server(("127.0.0.1", port), backlog=511)


def main():
    server = Server(None, Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener()
    server.socket.setblocking(False)  # A sibling may be faster at accept().
    server.server_name = server.server_port = ""
    watchdog = int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6 or None

    notify("READY=1")
    while True:
        events = readable(draining, server.socket, timeout=watchdog)
        if draining in events:
            break
        if watchdog:
            notify("WATCHDOG=1")
        try:
            if events:
                server.process_request(*server.get_request())
        except BlockingIOError:
            pass
    notify("STOPPING=1")
    server.server_close()


if __name__ == "__main__":
    main()
