"""Fixtures: `reeve` makes one under test, `port` is free, `example` runs by
name.  After a failure the output of every reeve of the test is shown."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lib import paths  # noqa: E402
from lib.process import free_port  # noqa: E402
from lib.reeve import Reeve  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, "failed_" + report.when, report.failed)
    if report.failed:
        for made in getattr(item, "reeves", []):
            report.sections.append((f"output of {made.name}", made.output()))


@pytest.fixture
def reeve(request, tmp_path):
    """make(config, name="test", environment=None): a Reeve, not started."""
    if not paths.REEVE.exists():
        pytest.skip(f"{paths.REEVE} is not built")
    request.node.reeves = []

    def make(config=None, name="test", environment=None):
        made = Reeve(tmp_path / f"{name}{len(request.node.reeves)}", config,
                     name, environment)
        request.node.reeves.append(made)
        return made

    yield make
    failed = getattr(request.node, "failed_call", True)
    for made in reversed(request.node.reeves):
        made.close(check=not failed)


@pytest.fixture
def port():
    return free_port()


@pytest.fixture(params=["c", "python", "node", "go"])
def example(request):
    """(name, command) of each example that can run here."""
    command = paths.example(request.param)
    if command is None:
        pytest.skip(f"no {request.param} example here")
    return request.param, command
