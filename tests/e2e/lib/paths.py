"""Where things are: the executable, the load client and the examples.

The environment variable REEVE names another executable than build/reeve; the
other programs are taken from the folder that it is in.
"""
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
REEVE = Path(os.environ.get("REEVE", ROOT / "build" / "reeve")).resolve()
BUILD = REEVE.parent
LOAD = BUILD / "tests" / "load" / "load"
RPC_LOAD = BUILD / "tests" / "load" / "rpc-load"
RPC_SERVER = BUILD / "tests" / "load" / "rpc-server"

# Each example's command.  The Go one is there only if a compiler was.
EXAMPLES = {
    "c": [str(BUILD / "examples" / "c" / "example-server")],
    "python": ["/usr/bin/python3", str(ROOT / "examples/python/app.py")],
    "node": ["/usr/bin/node", str(ROOT / "examples/node/app.js")],
    "go": [str(BUILD / "examples" / "go" / "example-go")],
}


def example(name):
    """The command of an example, as a list; None if it cannot run here."""
    command = EXAMPLES[name]
    return command if os.access(command[0], os.X_OK) else None
