"""`reeve-test`'s test-json, test-jsonrpc and test-unix-socket: what scripts
written for Open vSwitch's programs of these names rely on."""
import os
import subprocess

import pytest

from lib import paths
from lib.process import wait_until

PROGRAM = paths.BUILD / "tests" / "programs" / "reeve-test"


@pytest.fixture(autouse=True)
def is_built():
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not built")


def run(*arguments, folder=None, text=None):
    environment = dict(os.environ, REEVE_RUNDIR=str(folder or "/nonexistent"))
    return subprocess.run([str(PROGRAM), *map(str, arguments)], text=True,
                          input=text, capture_output=True, cwd=folder,
                          env=environment, timeout=60, check=False)


# Input and output; an output without a bracket is the error.
TEXTS = [
    ("[]", "[]"),
    ("[ 1 , 2 ]\n", "[1,2]"),
    ("[1 2]", "line 0, column 4, byte 4: syntax error expecting ']' or ','"),
    ("[1,]", "line 0, column 3, byte 3: syntax error expecting value"),
    ('{"z":1,"a":{"y":[],"b":null}}', '{"a":{"b":null,"y":[]},"z":1}'),
    ('{"a":1,"a":2}', '{"a":2}'),
    ('{"a":1,}',
     "line 0, column 7, byte 7: syntax error parsing object expecting string"),
    ('{"a" 1}', "line 0, column 6, byte 6: syntax error parsing object "
     "expecting ':'"),
    ('{"a":1\n"b":2}',
     "line 1, column 2, byte 9: syntax error expecting '}' or ','"),
    ("5", "line 0, column 1, byte 1: syntax error at beginning of input"),
    ("[]]", "line 0, column 2, byte 2: trailing garbage at end of input"),
    ("", "line 0, column 0, byte 0: empty input stream"),
    ("[1", "line 0, column 3, byte 3: unexpected end of input"),
    ("[truth]", "line 0, column 6, byte 6: invalid keyword 'truth'"),
    ("[#]", "line 0, column 1, byte 1: invalid character '#'"),
    ("[\x7f]", "line 0, column 1, byte 1: invalid character U+007f"),
    ('["\t"]',
     "line 0, column 2, byte 2: U+0009 must be escaped in quoted string"),
    ('["\\q"]', "line 0, column 4, byte 4: bad escape \\q"),
    ('["\\u00"]',
     "line 0, column 6, byte 6: quoted string ends within \\u escape"),
    ('["\\u00g0"]', "line 0, column 8, byte 8: malformed \\u escape"),
    ('["\\u0000"]', "line 0, column 8, byte 8: null bytes not supported in "
     "quoted strings"),
    ('["\\ud800x"]',
     "line 0, column 9, byte 9: malformed escaped surrogate pair"),
    ('["\\ud800\\u0041"]', "line 0, column 14, byte 14: second half of "
     "escaped surrogate pair is not trailing surrogate"),
    ('["\\ud83d\\ude00 \\u00e4"]', '["\U0001f600 \u00e4"]'),
    ('["\\u0001\\b\\f\\/\\\\\\""]', '["\\u0001\\b\\f/\\\\\\""]'),
    ('["open', "line 0, column 6, byte 6: unexpected end of input in quoted "
     "string"),
    ("[1.0,2.50,1e2,-0.0,25e-2]", "[1,2.5,100,0,0.25]"),
    ("[9223372036854775807,-9223372036854775808]",
     "[9223372036854775807,-9223372036854775808]"),
    ("[9223372036854775808]", "[9.22337203685478e+18]"),
    ("[0.1,1e-5]", "[0.1,1e-05]"),
    ("[01]", "line 0, column 3, byte 3: leading zeros not allowed"),
    ("[-]", "line 0, column 2, byte 2: '-' must be followed by digit"),
    ("[1.e5]", "line 0, column 5, byte 5: decimal point must be followed by "
     "digit"),
    ("[1e+]", "line 0, column 4, byte 4: exponent must contain at least one "
     "digit"),
    ("[1e400]", "line 0, column 6, byte 6: number outside valid range"),
    ("[1e3000000000]",
     "line 0, column 13, byte 13: exponent outside valid range"),
    ("[1-2]", "line 0, column 4, byte 4: syntax error in number"),
    ("[" * 1000 + "]" * 1000, "[" * 1000 + "]" * 1000),
    ("[" * 1001 + "]" * 1001, "line 0, column 1000, byte 1000: input exceeds "
     "maximum nesting depth 1000"),
]


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_json(number):
    text, wanted = TEXTS[number]
    is_good = wanted[0] in "[{"
    done = run("test-json", "-", text=text)
    assert done.stdout == ("" if is_good else "error: ") + wanted + "\n"
    assert (done.returncode, done.stderr) == (0 if is_good else 1, "")


def test_json_is_that_of_open_vswitch():
    """The same texts, and parts of them, by the parser of its library."""
    json = pytest.importorskip("ovs.json")
    pytest.importorskip("ovs._json", reason="its Python parser differs")
    for text, _ in TEXTS:
        if len(text) > 100:
            continue
        for part in {text, text[:-1], text[1:], text[:1] + text[2:]}:
            try:
                wanted = json.from_string(part)
            except UnicodeDecodeError:
                continue  # Half of a surrogate pair, which C lets pass.
            done = run("test-json", "-", text=part)
            if isinstance(wanted, str):
                assert done.stdout == f"error: {wanted}\n", part
            else:
                found = json.from_string(done.stdout)
                assert found == pytest.approx(wanted, rel=1e-14) \
                    if all(isinstance(x, (int, float)) for x in wanted) \
                    else found == wanted, part


def test_json_many_values():
    done = run("test-json", "--multiple", "-", text='{} [1]{"a":\n2}x[3]\f[')
    assert done.stdout.splitlines() == [
        "{}", "[1]", '{"a":2}',
        "error: line 0, column 1, byte 1: invalid keyword 'x'", "[3]",
        "error: line 0, column 1, byte 1: unexpected end of input"]
    assert done.returncode == 1
    assert run("test-json", "--multiple", "-", text=" []\n{}\n").stdout \
        == "[]\n{}\n"


def test_json_pretty(tmp_path):
    (tmp_path / "x.json").write_text('{"b":[1,{}],"a":{"c":[]}}')
    done = run("test-json", "--pretty", "x.json", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout == ('{\n  "a": {\n    "c": []},\n  "b": [\n    1,\n'
                           '    {\n      }]}\n')


def test_json_usage(tmp_path):
    done = run("test-json")
    assert done.returncode == 1
    assert done.stderr.startswith("test-json: usage: ")
    done = run("test-json", "none", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == ('test-json: Cannot open "none" (No such file or '
                           'directory)\n')
    assert run("test-json", "--ugly", "-", text="[]").returncode == 1


def test_unix_socket(tmp_path):
    assert run("test-unix-socket", "x", folder=tmp_path).returncode == 0
    assert run("test-unix-socket", "x", folder=tmp_path).returncode == 0
    long = "l" * 140
    (tmp_path / long).mkdir()
    done = run("test-unix-socket", f"../{long}/s", "s",
               folder=tmp_path / long)
    assert done.returncode == 0, done.stderr
    done = run("test-unix-socket", "x", "y", folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        1, "test-unix-socket: y: connect failed (No such file or directory)\n")
    assert run("test-unix-socket").returncode == 1


@pytest.fixture
def listener(tmp_path):
    """`listen`, in the background as the original's tests start it."""
    done = run("test-jsonrpc", "--detach", "--no-chdir", "--pidfile",
               "listen", "punix:socket", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    pidfile = tmp_path / "test-jsonrpc.pid"
    assert pidfile.exists()
    yield tmp_path
    if pidfile.exists():
        run("test-jsonrpc", "notify", "unix:socket", "shutdown", "[]",
            folder=tmp_path)
        wait_until(lambda: not pidfile.exists(), what="test-jsonrpc")


def test_jsonrpc(listener):
    def request(method, params):
        return run("test-jsonrpc", "request", "unix:socket", method, params,
                   folder=listener)
    done = request("echo", '[{"b": 1.0, "a": null}]')
    assert (done.returncode, done.stdout) == (
        0, '{"error":null,"id":0,"result":[{"a":null,"b":1}]}\n')
    done = request("no-such", "[]")
    assert (done.returncode, done.stdout) == (
        0, '{"error":{"error":"unknown method"},"id":0,"result":null}\n')
    done = request("echo", "{}")
    assert (done.returncode, done.stderr) == (
        1, 'test-jsonrpc: not a valid JSON-RPC request: "params" must be '
        'JSON array\n')
    done = request("echo", "[")
    assert done.returncode == 1 and 'test-jsonrpc: "[": line 0' in done.stderr
    assert request("echo", "[5]").stdout.endswith('"result":[5]}\n')


def test_jsonrpc_shutdown(listener):
    done = run("test-jsonrpc", "notify", "unix:socket", "shutdown", "[]",
               folder=listener)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wait_until(lambda: not (listener / "test-jsonrpc.pid").exists(),
               what="test-jsonrpc")
    done = run("test-jsonrpc", "request", "unix:socket", "echo", "[]",
               folder=listener)
    assert done.returncode == 1
    assert 'could not open "unix:socket" (' in done.stderr


def test_jsonrpc_start_fails(tmp_path):
    done = run("test-jsonrpc", "--detach", "--pidfile", "listen",
               "punix:no/such/folder/socket", folder=tmp_path)
    assert done.returncode == 1
    assert "could not listen on" in done.stderr
    assert not (tmp_path / "test-jsonrpc.pid").exists()


@pytest.mark.parametrize("arguments, text", [
    ((), "missing command name; use --help for help"),
    (("listen",), "'listen' command requires at least 1 arguments"),
    (("notify", "a", "b", "c", "d"),
     "'notify' command takes at most 3 arguments"),
    (("no-such",), "unknown command 'no-such'; use --help for help"),
])
def test_jsonrpc_usage(arguments, text):
    done = run("test-jsonrpc", *arguments)
    assert (done.returncode, done.stderr) == (1, f"test-jsonrpc: {text}\n")


def test_jsonrpc_help():
    for word in ("--help", "-h", "help"):
        done = run("test-jsonrpc", word)
        assert done.returncode == 0 and "request REMOTE" in done.stdout


def test_jsonrpc_with_python(listener):
    """The other side is Open vSwitch's own library."""
    code = """
import sys, ovs.stream, ovs.jsonrpc
error, stream = ovs.stream.Stream.open_block(
    ovs.stream.Stream.open("unix:" + sys.argv[1]))
assert not error, error
rpc = ovs.jsonrpc.Connection(stream)
for params in ([], [1, "a", {"b": [None, True, 0.5]}], ["x" * 500000]):
    error, reply = rpc.transact_block(
        ovs.jsonrpc.Message.create_request("echo", params))
    assert not error and reply.result == params, (error, reply)
error, reply = rpc.transact_block(
    ovs.jsonrpc.Message.create_request("no-such", []))
assert not error and reply.error == {"error": "unknown method"}, reply
rpc.send_block(ovs.jsonrpc.Message.create_notify("no-such", []))
error, message = rpc.recv_block()
assert error and message is None, (error, message)
"""
    if subprocess.run(["/usr/bin/python3", "-c", "import ovs.jsonrpc"],
                      capture_output=True, check=False).returncode:
        pytest.skip("no python3-openvswitch here")
    done = subprocess.run(["/usr/bin/python3", "-c", code,
                           str(listener / "socket")], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
