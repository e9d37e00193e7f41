"""The programs behind `./dev bench rpc` do what it believes they do."""
import json
import subprocess
from contextlib import contextmanager

import pytest

from lib import paths
from lib.process import SOON_S

MESSAGE_BYTES = 1 << 20


def client(*arguments):
    done = subprocess.run([str(paths.RPC_LOAD), *map(str, arguments)],
                          capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def echo_server(folder):
    """Gives the addresses of an echo server over unix and over tcp."""
    path = folder / "socket"
    with subprocess.Popen(
            [str(paths.RPC_SERVER), str(MESSAGE_BYTES), f"punix:{path}",
             "ptcp:0:127.0.0.1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == f"punix:{path}\n".encode()
        port = int(process.stdout.readline().split(b":")[1])
        yield f"unix:{path}", f"tcp:127.0.0.1:{port}"
        process.stdin.close()
        assert process.wait(SOON_S) == 0
    assert not path.exists()


def test_control_socket(reeve):
    made = reeve({"limits": {"control_connections": 1000}, "services": {
        "sleeper": {"command": "sleep 1000000"}}}).start()
    address = f"unix:{made.control_path()}"
    for depth in (1, 16):
        result = client("rate", address, "version", depth, 50)
        assert result["replies"] > 0 and result["rate"] > 0
    assert client("crowd", address, "version", 500, 500, 20000)[
        "served"] == 500
    assert made.stop() == 0


@pytest.mark.parametrize("transport", [0, 1], ids=["unix", "tcp"])
def test_echo(tmp_path, transport):
    with echo_server(tmp_path) as addresses:
        address = addresses[transport]
        alone = client("rate", address, "echo", 1, 50, 100)
        assert 0 < alone["p50_us"] <= alone["p99_us"] <= alone["max_us"]
        assert client("rate", address, "echo", 16, 50)["replies"] >= 16
        crowd = client("crowd", address, "echo", 300, 300, 20000)
        assert (crowd["served"], crowd["failed"]) == (300, 0)


def test_large_messages(tmp_path):
    with echo_server(tmp_path) as (address, _):
        for n, outcome in ((100, "reply"), (MESSAGE_BYTES, "reply"),
                           (MESSAGE_BYTES + 1, "closed"),
                           (8 * MESSAGE_BYTES, "closed")):
            assert client("large", address, n, 65536)["outcome"] == outcome
        assert client("rate", address, "echo", 1, 10)["replies"] > 0


def test_errors_are_told(tmp_path):
    with echo_server(tmp_path) as (address, _):
        for arguments in (("rate", address, "no-such-method", 1, 10),
                          ("rate", f"unix:{tmp_path}/none", "echo", 1, 10),
                          ("rate", "elsewhere", "echo", 1, 10),
                          ("rate", address, "echo", "x", 10), ("rate",), ()):
            done = subprocess.run([str(paths.RPC_LOAD), *map(str, arguments)],
                                  capture_output=True, text=True, timeout=60,
                                  check=False)
            assert done.returncode == 1 and done.stderr != "", arguments
