"""The named queries of ``sql/queries``: plain SQL in files that psql can open, one name and one sentence each.

A file is a list of ``-- name: claim_build``, at least one comment line that says what the statement is for, and one
statement. Whatever breaks that form fails when the module that loads the file is imported, not when the query is run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = re.compile(r"^-- name:(.*)$", re.MULTILINE)
GOOD_NAME: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


def sql_folder() -> Path:
    """The folder with ``queries`` and ``migrations``: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "sql"
    return installed if installed.is_dir() else package.parent / "sql"


class Queries:
    """The statements of one file, as attributes: ``SQL.claim_build``. An unknown name is an ``AttributeError``."""

    def __init__(self, stage: str, statements: dict[str, str]) -> None:
        self._stage = stage
        self._statements = statements

    def __getattr__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise AttributeError(f"sql/queries/{self._stage}.sql has no query named {name}") from None

    def __getitem__(self, name: str) -> str:
        return self._statements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)


def load_queries(stage: str, folder: Path | None = None) -> Queries:
    """Read ``<stage>.sql``; raises ``ValueError`` naming the file and the query that breaks the form."""
    file = (folder or sql_folder() / "queries") / f"{stage}.sql"
    parts = NAME.split(file.read_text(encoding="utf-8"))
    statements: dict[str, str] = {}
    for name, text in zip(map(str.strip, parts[1::2]), parts[2::2], strict=True):
        comments, statement = _comments_and_statement(text)
        if not GOOD_NAME.fullmatch(name):
            raise ValueError(f"{file}: {name!r} is not a name: lower case letters, digits and _ only")
        if name in statements:
            raise ValueError(f"{file}: two queries are named {name}")
        if not comments or not statement:
            raise ValueError(f"{file}: query {name} needs a comment that says what it is for, then its statement")
        statements[name] = statement
    if _comments_and_statement(parts[0])[1] or not statements:
        raise ValueError(f"{file}: every statement needs a line '-- name: ...' above it")
    return Queries(stage, statements)


def _comments_and_statement(text: str) -> tuple[str, str]:
    lines = [line for line in text.splitlines() if line.strip()]
    first = next((at for at, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return "".join(line.lstrip("- ") for line in lines[:first]), "\n".join(lines[first:]).strip()
