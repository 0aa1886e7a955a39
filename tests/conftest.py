"""The tiers of the test suite: a test's folder says what it needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["tests.stuck", "tests.postgres", "tests.docker"]

TESTS: Final = Path(__file__).parent
TIERS: Final = ("unit", "loopback", "store", "engine", "story", "fault", "browser")
NEED_ENGINE: Final = {"engine", "story", "fault", "browser"}
LEFT_OUT: Final = pytest.StashKey[int]()

# How long an example takes says how busy the machine is, and nothing about what is tested. CI tries the same examples
# every time, as Hypothesis's own profile for it does; whoever runs the tests by hand looks for new ones.
settings.register_profile(
    "tagship", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("tagship")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-engine", action="store_true", help="leave out the tests that need a Docker engine")


class OneProcessEach(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Tests that run one after the other, in one process: all of the engine's tests, and those of each other module.

    pytest-xdist 3.8 has marks for that, which it loses with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "tests/engine" if module.startswith("tests/engine/") else module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneProcessEach:
    return OneProcessEach(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        tier = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if tier in TIERS:
            item.add_marker(tier)
        (left_out if config.getoption("no_engine") and tier in NEED_ENGINE else kept).append(item)
    config.stash[LEFT_OUT] = len(left_out)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:  # what was measured, and is no reason to fail
            terminalreporter.write_line(f"{report.location[2]}: {name}: {value}")
    if left_out := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(
            f"--no-engine: {left_out} tests of tests/engine, tests/story, tests/fault and tests/browser did NOT run"
        )
