"""The loader of named queries: what it takes, and what it refuses at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.postgres.queries import load_queries, sql_folder

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
-- The queries of a stage.

-- name: claim_build
-- Take the oldest build
-- that waits.
select id from builds -- the oldest
 where state = 'pending';

-- name: wake
-- Tell the others.
select pg_notify('tagship', $1);
"""


def write(folder: Path, text: str) -> Path:
    (folder / "stage.sql").write_text(text)
    return folder


def test_query_is_its_statement_by_attribute_and_by_name(tmp_path: Path) -> None:
    sql = load_queries("stage", write(tmp_path, GOOD))
    assert sql.claim_build == "select id from builds -- the oldest\n where state = 'pending';"
    assert sql["wake"] == sql.wake == "select pg_notify('tagship', $1);"
    assert list(sql) == ["claim_build", "wake"]


def test_misspelt_query_is_an_attribute_error_naming_file_and_query(tmp_path: Path) -> None:
    sql = load_queries("stage", write(tmp_path, GOOD))
    with pytest.raises(AttributeError, match=r"stage\.sql has no query named claim_biuld"):
        _ = sql.claim_biuld


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD + GOOD, "two queries are named claim_build"),
        ("-- name: a\nselect 1;", "query a needs a comment"),
        ("-- name: a\n--\nselect 1;", "query a needs a comment"),
        ("-- name: a\n-- Why.\n", "query a needs a comment"),
        ("-- name: Claim\n-- Why.\nselect 1;", "'Claim' is not a name"),
        ("-- name:\n-- Why.\nselect 1;", "'' is not a name"),
        ("select 1;\n" + GOOD, "every statement needs a line"),
        ("-- nothing here\n", "every statement needs a line"),
    ],
)
def test_broken_file_is_refused_when_it_is_loaded(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        load_queries("stage", write(tmp_path, text))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_queries("stage", tmp_path)


def test_sql_folder_holds_queries_and_migrations() -> None:
    assert (sql_folder() / "queries").is_dir()
    assert (sql_folder() / "migrations").is_dir()
