"""Bad input to a start and to a reload: each ends with a clear message and
the documented exit status, and disturbs nothing that runs."""
import json
import os
import resource
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from lib import paths
from lib.load import Load
from lib.process import marked

USAGE, CONFIGURATION, FAILED = 64, 78, 1


def service(port, **more):
    return {"services": {"web": {
        "command": paths.EXAMPLES["c"], "workers": 2, "ready": "notify",
        "listen": f"127.0.0.1:{port}", **more}}}


def run_to_the_end(made, *arguments, user=None, timeout=60):
    """`reeve` in the foreground, until it ends by itself."""
    prefix = []
    if user:
        prefix = ["setpriv", "--reuid", user, "--regid", user,
                  "--clear-groups"]
    return subprocess.run(
        [*prefix, str(paths.REEVE), *map(str, arguments)],
        env=made.environment, cwd="/" if user else made.folder, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, timeout=timeout, check=False)


def complaint(made, verb="run", **options):
    done = run_to_the_end(made, verb, "-c", made.config_path, **options)
    text = done.stdout + done.stderr
    assert marked(made.marker) == {}, text
    assert not list(made.runtime_dir.glob("*.pid")), text
    assert not list(made.runtime_dir.glob("*.ctl")), text
    return done.returncode, text


BAD = {
    "unknown key": (
        "services:\n  web:\n    command: sleep 9\n    worker: 2\n",
        [":4:5:", '"worker"', "`workers`"]),
    "wrong type": (
        "services:\n  web:\n    command: sleep 9\n    workers: [1]\n",
        [":4:", "workers"]),
    "impossible value": (
        "services:\n  web:\n    command: sleep 9\n    workers: -3\n",
        [":4:", "workers", "-3"]),
    "several at once": (
        "services:\n  web:\n    command: sleep 9\n    worker: 2\n"
        "    ready: maybe\n    drain_timeout: 5 parsecs\n",
        [":4:", ":5:", ":6:", '"worker"', "maybe", "parsecs"]),
    "no services": ("services: {}\n", ["services"]),
    "no command": ("services: {web: {workers: 1}}\n", ["command"]),
    "not YAML": ("services: [web\n", [":"]),
    "empty": ("", ["services"]),
    "binary": ("\x00\x01\x02\xff\n", [":"]),
    "a list": ("- a\n- b\n", [":1:"]),
    "the same twice": (
        "services:\n  web:\n    command: sleep 9\n    workers: 1\n"
        "    workers: 2\n", [":5:", "workers"]),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("verb", ["run", "start", "check"])
def test_bad_file(reeve, what, verb):
    text, parts = BAD[what]
    made = reeve(text)
    status, said = complaint(made, verb)
    assert status == CONFIGURATION, said
    assert str(made.config_path) in said
    for part in parts:
        assert part in said, said
    # One complaint a mistake, and no more than that.
    assert len(said.splitlines()) <= 4, said


def test_file_over_its_limits(reeve):
    made = reeve("services:\n  web:\n    command: sleep 9\n    environment:\n"
                 + "".join(f"      A{i}: {'x' * 1000}\n"
                           for i in range(20000)))
    assert made.config_path.stat().st_size > 20_000_000
    status, said = complaint(made, "check")
    assert status == CONFIGURATION and len(said) < 5000, said[:2000]
    made.write_config("a: " + "[" * 100000)
    status, said = complaint(made, "check")
    assert status == CONFIGURATION and len(said) < 5000, said[:2000]
    # Twelve lists of nine of the one before: 9^13 words if written out.
    made.write_config("b0: &b0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"b{i}: &b{i} [{','.join([f'*b{i - 1}'] * 9)}]\n"
        for i in range(1, 13)))
    status, said = complaint(made, "check", timeout=60)
    assert status == CONFIGURATION and len(said) < 20000, said[:2000]


def test_no_file_and_no_permission(reeve):
    made = reeve()
    status, said = complaint(made)
    assert status == CONFIGURATION
    assert "No such file" in said and str(made.config_path) in said
    made.config_path.mkdir()
    status, said = complaint(made)
    assert status == CONFIGURATION and "directory" in said.lower(), said


@pytest.fixture
def open_folder():
    """A folder that any user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="reeve-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def needs_other_user():
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv to become another user")
    if any(not os.stat(p).st_mode & 0o001 for p in paths.REEVE.parents):
        pytest.skip("another user cannot reach the executable")


def test_unreadable_file(reeve, open_folder):
    needs_other_user()
    made = reeve()
    made.config_path = open_folder / "x.yaml"
    made.write_config({"services": {"web": {"command": "sleep 9"}}})
    made.config_path.chmod(0o600)
    status, said = complaint(made, user="65534")
    assert status == CONFIGURATION and "Permission denied" in said, said


def test_no_permission_to_listen_or_to_change_user(reeve, open_folder):
    needs_other_user()
    made = reeve()
    run = open_folder / "run"
    run.mkdir()
    os.chown(run, 65534, 65534)
    made.environment["REEVE_RUNDIR"] = str(run)
    made.config_path = open_folder / "x.yaml"
    unprivileged = int(Path(
        "/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if unprivileged > 1:
        made.write_config({"services": {"web": {
            "command": "sleep 9", "listen": "127.0.0.1:1"}}})
        status, said = complaint(made, user="65534")
        assert status == FAILED and "127.0.0.1:1" in said, said
        assert "Permission denied" in said and "web" in said
    made.write_config({"services": {"web": {"command": "sleep 9",
                                            "user": "root"}}})
    status, said = complaint(made, "start", user="65534")
    assert status == FAILED and "not permitted" in said, said
    made.write_config({"services": {"web": {
        "command": "sleep 9", "stdout": "file /x.log"}}})
    status, said = complaint(made, "start", user="65534")
    assert status == FAILED and "Permission denied" in said, said
    assert "/x.log" in said
    made.write_config({"services": {"web": {
        "command": "sleep 9", "listen": "unix:/x.sock"}}})
    status, said = complaint(made, user="65534")
    assert status == FAILED and "/x.sock" in said, said


@pytest.mark.parametrize("more,parts", [
    ({"command": "/no/such/program"}, ["web.0", "exec", "No such file"]),
    ({"command": "/etc/passwd"}, ["web.0", "exec", "Permission denied"]),
    ({"command": "sleep 9", "directory": "/no/such/folder"},
     ["web.0", "directory", "No such file"]),
    ({"command": "sleep 9", "user": "nobody-of-that-name"},
     ["nobody-of-that-name"]),
    ({"command": "sleep 9", "group": "no-such-group"}, ["no-such-group"]),
    ({"command": ["sh", "-c", "echo last words >&2; exit 5"]},
     ["web.0", "status 5", "last words"]),
    ({"command": ["sh", "-c", "kill -SEGV $$"]}, ["web.0", "signal 11"]),
    ({"command": ["sh", "-c", "echo halfway; exec sleep 60"],
      "ready": "notify", "start_timeout": "2s"},
     ["web.0", "not ready", "2000 ms", "halfway"]),
])
def test_start_says_why_the_program_does_not_run(reeve, more, parts):
    made = reeve({"services": {"web": more}})
    status, said = complaint(made, "start")
    assert status == FAILED, said
    for part in parts:
        assert part in said, said


def test_exit_status_2_is_a_broken_start(reeve):
    made = reeve({"services": {"web": {
        "command": ["sh", "-c", "echo bad option >&2; exit 2"]}}})
    status, said = complaint(made, "start")
    assert status == FAILED and "bad option" in said


def test_port_in_use(reeve, port):
    with socket.create_server(("127.0.0.1", port)):
        made = reeve(service(port))
        status, said = complaint(made)
        assert status == FAILED
        assert f"127.0.0.1:{port}" in said and "in use" in said
        status, said = complaint(made, "start")
        assert status == FAILED and "in use" in said


@pytest.mark.parametrize("arguments", [
    (), ("run", "-l"), ("run", "-x", "--", "sleep", "9"), ("nonsense",),
    ("run", "-w", "many", "--", "sleep", "9"), ("status", "--now"),
    ("scale", "web"), ("status", "-T", "soon"), ("ctl",),
])
def test_usage(reeve, arguments):
    made = reeve()
    done = run_to_the_end(made, *arguments)
    said = done.stdout + done.stderr
    expected = (0, USAGE) if not arguments else (USAGE, CONFIGURATION)
    assert done.returncode in expected, (done.returncode, said)
    assert said.strip()


def test_bad_reload_changes_nothing(reeve, port):
    made = reeve(service(port)).start()
    before = made.pids()
    with socket.create_server(("127.0.0.1", 0)) as other, \
            Load(port, connections=4) as load:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        for config, parts in [
                (BAD["several at once"][0], ["worker", "maybe", "parsecs"]),
                (service(port, workers="lots"), ["workers"]),
                ({**service(port), "name": "other"}, ["other"]),
                (service(port, listen=[f"127.0.0.1:{port}", taken]),
                 [taken, "in use"]),
                (service(port, command="/no/such/program"),
                 ["/no/such/program", "No such file"]),
                (service(port, command=["sh", "-c", "echo oops; exit 9"]),
                 ["status 9", "oops"]),
                (service(port, user="nobody-of-that-name"),
                 ["nobody-of-that-name"]),
                (service(port, stdout="file /no/such/folder/x"),
                 ["/no/such/folder/x"]),
                ({**service(port), "log": {"file": "/no/such/folder/log"}},
                 ["/no/such/folder/log", "No such file"])]:
            made.write_config(config)
            done = made.cli("reload")
            said = done.stdout + done.stderr
            assert done.returncode == FAILED, said
            for part in parts:
                assert part in said, (part, said)
            assert made.pids() == before, said
        made.config_path.unlink()
        done = made.cli("reload")
        assert done.returncode == FAILED and "No such file" in done.stderr
        assert made.pids() == before
        made.write_config(service(port, workers=3))
        made.cli("reload", check=True)
    load.assert_nothing_lost()
    assert len(made.pids()) == 3


def test_environment_and_arguments_too_large(reeve):
    made = reeve({"services": {"web": {"command": "sleep 9",
                                       "environment": {"A": "x" * 140000}}}})
    status, said = complaint(made, "start")
    assert status == FAILED and "Argument list too long" in said, said[-500:]


def test_limits_that_forbid_the_start(reeve):
    made = reeve({"services": {"web": {
        "command": "sleep 9", "limits": {"memory": "64KiB"}}}})
    status, said = complaint(made, "start")
    assert status == FAILED and "web.0" in said, said
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if os.geteuid():
        made.write_config({"services": {"web": {
            "command": "sleep 9", "limits": {"nofile": hard + 1}}}})
        status, said = complaint(made, "start")
        assert status == FAILED and "limits" in said, said


def test_json_is_yaml(reeve):
    made = reeve()
    made.write_config(json.dumps({"services": {"web": {"command": {}}}}))
    status, said = complaint(made, "check")
    assert status == CONFIGURATION and "command" in said


ZONES = {
    "unknown zone": (
        "zones: {sessions: {size: 8MiB}}\nservices:\n  web:\n"
        "    command: sleep 9\n    zones: [session]\n",
        [":5:13:", "`session`", "did you mean `sessions`"]),
    "no size": (
        "zones:\n  a: {tag: x}\nservices: {web: {command: sleep 9}}\n",
        [":2:3:", "`size` is missing"]),
    "larger than it may be": (
        "zones:\n  a:\n    size: 8MiB\n    max_size: 4MiB\n"
        "services: {web: {command: sleep 9}}\n",
        [":4:15:", "`max_size` (4MiB) is less than `size` (8MiB)"]),
    "one file twice": (
        "zones:\n  a: {size: 8MiB, file: x}\n  b: {size: 8MiB, file: ./x}\n"
        "services: {web: {command: sleep 9}}\n",
        [":3:25:", "zone `a`"]),
    "one name twice": (
        "zones:\n  a: {size: 8MiB}\n  a: {size: 8MiB}\n"
        "services: {web: {command: sleep 9}}\n", [":3:3:", '"a"']),
    "one zone twice": (
        "zones: {a: {size: 8MiB}}\nservices:\n  web:\n"
        "    command: sleep 9\n    zones: [a, {name: a, access: read}]\n",
        [":5:23:", "`a` twice"]),
    "in braces": (
        "zones: {a: {size: 8MiB}}\nservices:\n  web:\n"
        "    command: [sleep, '{zone:b}']\n    zones: a\n",
        [":4:22:", "`{zone:b}`", "`{zone:a}`"]),
}


@pytest.mark.parametrize("what", ZONES)
def test_bad_zones(reeve, what):
    text, parts = ZONES[what]
    made = reeve(text)
    status, said = complaint(made, "check")
    assert status == CONFIGURATION, said
    for part in (str(made.config_path), *parts):
        assert part in said, said
    assert len(said.splitlines()) == 1, said


def test_bad_zones_in_a_reload(reeve, port):
    made = reeve(service(port))
    made.start()
    before = made.pids()
    made.write_config(ZONES["unknown zone"][0])
    done = made.cli("reload")
    assert done.returncode == 1 and "nothing changed" in done.stderr
    assert "`session`" in done.stderr
    assert made.pids() == before
    # A file that nobody can make.
    config = service(port)
    config["zones"] = {"a": {"size": "8MiB", "file": "/proc/nothing/a"}}
    made.write_config(config)
    done = made.cli("reload")
    assert done.returncode == 1 and "/proc/nothing/a" in done.stderr
    assert made.pids() == before
