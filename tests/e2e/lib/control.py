"""A client of the control socket that can also misbehave.

    with Control(path) as control:
        assert control.call("version").startswith("reeve")

JSON-RPC 1.0 as unixctl speaks it: one JSON value after the other.
"""
import json
import socket


class ControlError(Exception):
    """The server's answer was an error; str() is its text."""


class Control:
    def __init__(self, path, timeout=30):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.received = ""
        self.id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send_bytes(self, data):
        """Sends anything at all."""
        self.socket.sendall(data)

    def receive(self):
        """The next JSON value; None at the end of the stream."""
        decoder = json.JSONDecoder()
        while True:
            text = self.received.lstrip()
            try:
                value, end = decoder.raw_decode(text)
                self.received = text[end:]
                return value
            except ValueError:
                pass
            data = self.socket.recv(65536)
            if not data:
                return None
            self.received += data.decode()

    def call(self, method, *params):
        """The result of a call; raises ControlError with the error's text."""
        self.id += 1
        self.send_bytes(json.dumps({"id": self.id, "method": method,
                                    "params": list(params)}).encode())
        reply = self.receive()
        if reply is None:
            raise ControlError("the connection was closed")
        assert reply["id"] == self.id, reply
        if reply["error"] is not None:
            raise ControlError(reply["error"])
        return reply["result"]
