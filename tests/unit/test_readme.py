"""What the README promises and names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text()
PROMISES: Final = README.partition("\n## What it promises\n")[2].partition("\n## ")[0]


def names_in(module: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_promise_names_a_test_that_exists() -> None:
    rows = [line for line in PROMISES.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert rows
    known: dict[str, set[str]] = {}
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, f"a promise without a test: {row}"
        for file, test in named:
            known.setdefault(file, names_in(ROOT / file) if (ROOT / file).is_file() else set())
            assert test in known[file], f"there is no {file}::{test}"


def test_files_and_modules_that_the_readme_names_exist() -> None:
    for path in re.findall(r"`((?:app|sql|tests|ops)/[\w/.-]+)`", README):
        assert (ROOT / path).exists(), f"the README names {path}, which does not exist"
    for module in re.findall(r"python -m (tests\.[\w.]+\w)(?![\w.])", README):
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), f"there is no {module}"
