"""The scripts of the dashboard that need no browser: their own tests, run by Node."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

JS: Final = Path(__file__).parents[1] / "js"
FILES: Final = sorted(JS.glob("*.test.mjs"))


def test_there_are_tests_of_scripts() -> None:
    assert {file.name for file in FILES} >= {"ansi.test.mjs", "changes.test.mjs", "lines.test.mjs", "steps.test.mjs"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_scripts_do_what_their_tests_say(file: Path) -> None:
    node = shutil.which("node")
    assert node is not None, "Node is missing, which the tests of scripts run in: apt-get install nodejs"
    ended = subprocess.run([node, "--test", str(file)], capture_output=True, text=True, check=False, timeout=150)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert "# pass 0" not in ended.stdout
