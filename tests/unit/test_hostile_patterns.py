"""No pattern that strangers' text meets takes more than linear time: twenty kilobytes made to hurt pass at once."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

import app
from app.api import fields
from app.builds.builder import LONGEST_VALUE, base_images, needs_buildkit
from app.log import PATTERNS, redact
from app.products.pins import LONGEST_TRACK

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE: Final = 20_000
AT_MOST_S: Final = 0.25  # of computing, for some milliseconds of it; a quadratic pattern takes more
OURS_ALONE: Final = {
    "app.postgres.queries",
    "app.postgres.binaries",
    "app.postgres.migrate",
    "app.settings",
    "app.api.openapi",
}
"""Where patterns meet nothing but our own files and the operator's settings."""

HURTING: Final = [
    "a", "1", " ", "-", ".", "_", "/", ":", "=", "\\", '"', "<", ">", "@", "?", "&", "*", "[", "{", "$", "#", "\n",
    "\t", "é", "1.", ".1", "a.", "a-", "-a", "a/", "--a ", "a=", "a =", "://", "://a:", "${a:-", "${a", "$a", "1|| ",
    "1 ", "1.2.3 ", "<<", "exit code: 1", "Step 1/", "https://", 'a="', "?token=", "authorization: ", "ghp_",
    "hooks.slack.com",
]  # fmt: skip
BEFORE: Final = [
    "", "a", "1", "#a=x", "RUN ", "ADD ", "COPY --a ", "ONBUILD", "$", "${a", "https://", "http://x?", "Step 1/1 : ",
    "v1.0.0-",
    "exit code: 1", 'Bearer realm="', "</v2/", "sha256:", "refs/tags/", "[", "^1",
]  # fmt: skip


ANCHORED: Final = {"app.github.connection.REPO", "app.registry.challenge.SCHEME"}
"""What is only matched from the beginning of a text, and never searched for."""

BOUNDED: Final = {"app.products.pins.SET_OF_CHARACTERS": LONGEST_TRACK}
"""What meets no longer text."""


def compiled() -> dict[str, re.Pattern[str]]:
    """Every pattern of text that a module of the app holds, by its name."""
    found = {}
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if module.name in OURS_ALONE or module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                found[f"{module.name}.{name}"] = value
    return found | {f"app.log.PATTERNS[{at}]": pattern for at, (*_, pattern, _) in enumerate(PATTERNS)}


@contextmanager
def quick(what: str) -> Iterator[None]:
    """Counts what this process itself computes, however busy the machine is."""
    began = time.process_time()
    yield
    assert time.process_time() - began < AT_MOST_S, what


def test_the_patterns_are_found() -> None:
    assert {"app.builds.builder.VARIABLE", "app.api.fields.RANGE_AT_ONCE", "app.log.PATTERNS[0]"} <= set(compiled())


@pytest.mark.parametrize("name", sorted(compiled()))
def test_a_pattern_takes_linear_time(name: str) -> None:
    pattern = compiled()[name]
    for before, piece in [*(("", piece) for piece in HURTING), *product(BEFORE, " a1-")]:
        text = before + piece * (BOUNDED.get(name, SIZE) // len(piece)) + "!\x00"
        with quick(f"{name} on {before!r} and many {piece!r}"):
            pattern.fullmatch(text)
            pattern.match(text)
            if name not in ANCHORED:
                pattern.sub("", text)


@pytest.mark.parametrize("rule", ["1" + "|| 1" * 49 + "!", "1.2.3" + " 1.2.3" * 32 + "!", "1 - 1 " * 33 + "!"])
def test_a_rule_that_can_be_read_in_many_ways_is_judged_at_once(rule: str) -> None:
    with quick(rule):
        assert not fields.RANGE_AT_ONCE.fullmatch(rule)


@pytest.mark.parametrize(
    "dockerfile",
    [
        "# a=x" + " " * SIZE + "y\n",
        "FROM " + "${a:-" * (SIZE // 5) + "\n",
        "RUN " + "--a " * (SIZE // 4) + "\n",
        "ARG A=" + "$A" * SIZE + "\nFROM $A\n",
        "FROM a\\\n" * (SIZE // 8),
    ],
    ids=range(5),
)
def test_a_dockerfile_made_to_hurt_is_read_at_once(dockerfile: str) -> None:
    with quick(dockerfile[:20]):
        base_images(dockerfile)
        needs_buildkit(dockerfile)


def test_arguments_that_double_each_other_stay_short() -> None:
    dockerfile = "ARG A0=xx\n" + "".join(f"ARG A{n + 1}=$A{n}$A{n}\n" for n in range(60)) + "FROM $A60\n"
    assert base_images(dockerfile) == []
    assert all(len(base) <= LONGEST_VALUE for base in base_images(dockerfile.replace("A60\n", "A5\n")))


@pytest.mark.parametrize(
    "base",
    [
        "../containers/x",
        "a/../../b",
        "a\0b",
        "A",
        "a b",
        "http://x/y",
        "a:b:c",
        "a" * 2000,
        "${x}",
        "a@sha256:0",
        "\ufffd",
    ],
)
def test_what_is_no_reference_is_not_asked_for(base: str) -> None:
    assert base_images(f"FROM {base}\n") in ([], ["a"])


@pytest.mark.parametrize("piece", HURTING)
def test_redaction_takes_linear_time(piece: str) -> None:
    with quick(piece):
        redact(piece * (SIZE // len(piece)), ["a-secret", "://a:secret", "ghp_" + "x" * 36])
