from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.builds.ignore import IgnoreRules, Verdict
from app.errors import SourceInvalid

# (lines of the ignore file, path, whether it is ignored); every row was compared with github.com/moby/patternmatcher.
DECISIONS: list[tuple[str, str, bool]] = [
    # plain names, and all below a folder
    ("a", "a", True),
    ("a", "ab", False),
    ("a", "a/b/c", True),
    ("a", "b/a", False),
    ("a/b", "a/b/c", True),
    ("a/b", "a", False),
    # how a line is read
    ("# a", "# a", False),
    (" # a", "# a", True),
    ("\ufeffa", "a", True),
    ("b\n\ufeffa", "a", False),
    ("a\r\n\r\nb\r\n", "b", True),
    ("\u3000a\u00a0", "a", True),
    ("\x1ca", "a", False),
    ("/a", "a", True),
    ("//a//b/", "a/b", True),
    ("./a/../b", "b", True),
    ("/..//a", "a", True),
    ("../a", "a", False),
    (".", "a", False),
    ("/", "a", False),
    # one star, question mark
    ("*", "a/b", True),
    ("*.md", "a.md", True),
    ("*.md", "x/a.md", False),
    ("*/a", "x/a/y", True),
    ("*/a", "a", False),
    ("a?c", "abc", True),
    ("a?c", "a☺c", True),
    ("a?c", "a/c", False),
    ("a*", "a/b", True),
    ("a*b", "a/b", False),
    ("a*b*c", "axbxbxc", True),
    (".*", "a", False),
    (".*", ".git", True),
    # two stars
    ("**", "a/b", True),
    ("**/", "a", True),
    ("**/a", "a", True),
    ("**/a", "x/y/a/z", True),
    ("**/a", "x/ba", False),
    ("**a", "x/ba", True),
    ("**/*.md", "a.md", True),
    ("**/*.md", "x/y/a.md", True),
    ("a/**", "a", False),
    ("a/**", "a/b/c", True),
    ("a**", "ab/c", True),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("a/**/b", "ab", False),
    ("a**/b", "axx/b", True),
    ("a**b", "axb", False),
    ("a**b", "ax/b", True),
    ("**/a/**", "x/a/y", True),
    ("**/**/a", "a", True),
    ("***", "a/b", True),
    # classes
    ("[a-c]", "b", True),
    ("[^a-c]", "b", False),
    ("[^a]", "x", True),
    ("a[^b]c", "a/c", True),
    ("[!a]", "b", False),
    ("[!a]", "a", True),
    ("[*]", "[]", True),
    ("[*]", "*", False),
    ("x[?]", "x/", False),
    ("[[:digit:]]*", "1a", True),
    ("[[:^digit:]]", "1", False),
    ("x*[a-]", "xy-", True),
    ("[a-ж]*", "д", True),
    (r"[\]]", "]", True),
    ("]", "]", True),
    # escapes and characters that mean something to regular expressions
    (r"a\*b", "a*b", True),
    (r"a\*b", "axb", False),
    (r"\!a", "!a", True),
    (r"\#a", "#a", True),
    (r"\d*", "1", True),
    (r"\W", "a", False),
    ("a+(b).$", "a+(b).$", True),
    ("a+(b).*", "a+(b).c", True),
    ("a.b*", "axb", False),
    ("a|b", "a|b", True),
    ("a^b", "a^b", True),
    ("a^*", "a^b", False),
    ("{a,b}*", "{a,b}c", True),
    # exceptions: the last rule that matches decides
    ("*\n!a", "a", False),
    ("!a\n*", "a", True),
    ("a\n!a/b", "a/b", False),
    ("a\n!a/b", "a/c", True),
    ("a\n!a/b", "a/b/c", False),
    ("a/*\n!a/b", "a/b/c", False),
    ("*\n!**/k", "x/y/k", False),
    ("*\n! /a", "a", False),
    ("a\n!a/b\na/b/c", "a/b/c/d", True),
    ("*\n!a\na/b", "a/b", True),
    ("a\n!!a", "a", True),
]


@pytest.mark.parametrize(("lines", "path", "ignored"), DECISIONS)
def test_path_is_decided_as_docker_decides_it(lines: str, path: str, ignored: bool) -> None:
    rules = IgnoreRules.parse(lines.encode())
    assert rules.matches(path) is ignored
    assert walk(rules, path).ignored is ignored


def test_pattern_repeated_after_its_exception_is_not_inherited_on_a_walk() -> None:
    rules = IgnoreRules.parse(b"a\n!a/b\na\n")
    assert walk(rules, "a").ignored
    assert not walk(rules, "a/b").ignored
    assert rules.matches("a/b")


def test_undecodable_names_are_matched_character_by_character() -> None:
    rules = IgnoreRules.parse(b"caf\xe9\ntea?\n")
    assert rules.matches("caf\udce9")
    assert rules.matches("tea\udcff")
    assert not rules.matches("café")


def test_no_rules_ignore_nothing() -> None:
    assert not IgnoreRules().judge("a", None).ignored
    assert not IgnoreRules.parse(b"").matches("a")


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("a\n[", 2, "character class"),
        ("# one\n\n[]a]", 3, "character class"),
        ("[a-]", 1, "character class"),
        ("[z-a]", 1, "runs backwards"),
        ("*/[a", 1, "without its end"),
        ("a\\", 1, "backslash"),
        ("*\n!", 2, "exception to nothing"),
        ("! /", 1, "exception to nothing"),
        ("[[:nope:]]", 1, "character class"),
        (r"\Qa", 1, "escapes 'Q'"),
        (r"\é", 1, "escapes 'é'"),
        ("a|b*", 1, "operator"),
        ("a{2}*", 1, "operator"),
        ("a\0", 1, "NUL"),
        ("x" * 5000, 1, "at most 4096"),
    ],
)
def test_refused_pattern_is_named_with_file_and_line(text: str, line: int, why: str) -> None:
    with pytest.raises(SourceInvalid, match=f"^web/.dockerignore, line {line}: ") as caught:
        IgnoreRules.parse(text.encode(), "web/.dockerignore")
    assert why in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", [b"a\n" * 1001, b"#" * 300_000])
def test_oversized_file_is_refused(text: bytes) -> None:
    with pytest.raises(SourceInvalid, match="at most"):
        IgnoreRules.parse(text)


@pytest.mark.parametrize(
    "pattern", ["**/" * 300 + "x", "**/*a" * 200 + "x", "*a" * 400 + "x", "a**/b" * 200 + "x", "[^x]*" * 300 + "y"]
)
def test_hostile_pattern_takes_linear_time(pattern: str) -> None:
    rules = IgnoreRules.parse(f"{pattern}\n".encode())
    started = time.monotonic()
    for path in ("a/" * 2000 + "b", "a" * 4000 + "b", "ab/" * 1300 + "b"):
        parent = Verdict(ignored=False, matched=0)
        assert not rules.judge(path, parent).ignored
    assert time.monotonic() - started < 5, "backtracking would take longer than the universe"


def test_many_hostile_patterns_do_not_fill_memory() -> None:
    rules = IgnoreRules.parse(("\n".join(f"**/*{n}**/*x*y" for n in range(500))).encode())
    for number in range(4):
        rules.judge("".join(chr(0x4E00 + number * 100 + k) for k in range(100)), None)
    automata = [rule.glob._automaton for rule in rules._rules if rule.glob._automaton]
    states = [state for automaton in automata for state in (*automaton._states.values(), automaton._start)]
    assert len(automata) == 500
    assert sum(len(state.after) for state in states) <= 32_768
    assert sum(len(automaton._masks) for automaton in automata) <= 32_768


PIECES = [
    "a",
    "b",
    "/",
    "*",
    "**",
    "**/",
    "?",
    "[",
    "]",
    "[a-b]",
    "[^a]",
    "\\",
    "!",
    "#",
    ".",
    "..",
    "^",
    "{",
    "|",
    " ",
    "é",
]
PATTERNS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)
NAMES = st.text(st.sampled_from("ab.*[]é\n\udcff"), min_size=1, max_size=4).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@given(st.lists(PATTERNS, max_size=6), PATHS)
def test_any_file_is_read_or_refused_and_any_path_decided(patterns: list[str], path: str) -> None:
    try:
        rules = IgnoreRules.parse("\n".join(patterns).encode())
    except SourceInvalid:
        return
    rules.matches(path)
    walk(rules, path)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        IgnoreRules.parse(text).matches("a/b")
    except SourceInvalid as error:
        assert str(error).startswith(".dockerignore")


@given(st.lists(st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "?"]), min_size=1, max_size=3), max_size=4), PATHS)
def test_without_exceptions_all_below_an_ignored_folder_is_ignored(patterns: list[list[str]], path: str) -> None:
    rules = IgnoreRules.parse("\n".join("/".join(parts) for parts in patterns).encode())
    assert walk(rules, path).ignored is rules.matches(path)
    if rules.matches(path):
        assert rules.matches(path + "/below")


@given(PATHS)
def test_last_rule_wins(path: str) -> None:
    escaped = "".join(f"\\{char}" if char in "*[]\\!#" else char for char in path).replace("\n", "?")
    assert not IgnoreRules.parse(f"**\n!{escaped}".encode("utf-8", "surrogateescape")).matches(path)
    assert IgnoreRules.parse(f"!{escaped}\n**".encode("utf-8", "surrogateescape")).matches(path)


def walk(rules: IgnoreRules, path: str) -> Verdict:
    """The verdict on a path as a walk from the top comes to it."""
    verdict = None
    parts = path.split("/")
    for length in range(len(parts)):
        verdict = rules.judge("/".join(parts[: length + 1]), verdict)
    assert verdict is not None
    return verdict
