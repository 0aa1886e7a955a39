"""What is remembered of GitHub's answers has an upper bound, in number and in bytes."""

from __future__ import annotations

from app.github.remembered import Answered, Remembered


def answer(size: int = 10, etag: str = "e") -> Answered:
    return Answered(etag, b"x" * size)


def test_the_answer_used_longest_ago_is_forgotten_first() -> None:
    known = Remembered(most=2)
    known.keep("/a", answer())
    known.keep("/b", answer())
    known.get("/a")
    known.keep("/c", answer())
    assert [path for path in ("/a", "/b", "/c") if known.get(path)] == ["/a", "/c"]


def test_the_bytes_of_all_answers_have_a_limit() -> None:
    known = Remembered(most_bytes=100)
    for path in "abcdefghijklmnop":
        known.keep(path, answer(30))
    assert len(known) == 3
    assert known.bytes == 90


def test_an_answer_that_is_too_large_is_not_kept_and_the_one_before_is_not_true_any_more() -> None:
    known = Remembered(largest=20)
    known.keep("/a", answer(20))
    known.keep("/a", answer(21))
    assert known.get("/a") is None
    assert known.bytes == 0


def test_the_newest_answer_takes_the_place_of_the_one_before() -> None:
    known = Remembered()
    known.keep("/a", answer(10, "first"))
    known.keep("/a", answer(5, "second"))
    found = known.get("/a")
    assert found is not None
    assert (found.etag, known.bytes) == ("second", 5)
