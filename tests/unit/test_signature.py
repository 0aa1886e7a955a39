"""Only bytes that one of our secrets signed with SHA-256 count as GitHub's."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadSignature
from app.github.signature import sign, verify_signature

# docs.github.com, "Validating webhook deliveries", testing the webhook payload validation.
SECRET: Final = "It's a Secret to Everybody"
BODY: Final = b"Hello, World!"
DIGEST: Final = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_the_example_of_githubs_documentation_is_accepted() -> None:
    assert verify_signature([SECRET], BODY, f"sha256={DIGEST}") == 0


def test_the_index_tells_which_secret_signed() -> None:
    assert verify_signature(["new", SECRET, "old"], BODY, f"sha256={DIGEST}") == 1


def test_upper_case_digits_are_the_same_signature() -> None:
    assert verify_signature([SECRET], BODY, f"sha256={DIGEST.upper()}") == 0


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        DIGEST,
        "sha256=",
        f"SHA256={DIGEST}",
        f"sha256={DIGEST[:-1]}",
        f"sha256={DIGEST}0",
        f"sha256={DIGEST}\n",
        f" sha256={DIGEST}",
        f"sha256={DIGEST[:-1]}g",
        "sha256=" + "\uff11" * 64,  # digits to str.isdigit, not hexadecimal to GitHub
        "sha256=é",
        f"sha1={hmac.new(SECRET.encode(), BODY, hashlib.sha1).hexdigest()}",
        f"sha1={DIGEST}",
        f"sha256={'0' * 64}",
    ],
)
def test_any_other_header_is_refused(header: str | None) -> None:
    with pytest.raises(BadSignature):
        verify_signature([SECRET], BODY, header)


def test_one_changed_byte_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify_signature([SECRET], BODY + b"\n", f"sha256={DIGEST}")


def test_nothing_fits_when_there_is_no_secret() -> None:
    with pytest.raises(BadSignature):
        verify_signature([], BODY, sign("", BODY))


def test_the_sentence_holds_no_secret() -> None:
    with pytest.raises(BadSignature) as refused:
        verify_signature(["a-secret-of-ours"], BODY, f"sha256={DIGEST}")
    assert "a-secret-of-ours" not in str(refused.value)
    assert DIGEST not in str(refused.value)


def test_a_secret_that_is_not_utf8_in_the_environment_works() -> None:
    raw = b"caf\xe9-secret"
    digest = hmac.new(raw, BODY, hashlib.sha256).hexdigest()
    assert verify_signature([raw.decode("utf-8", "surrogateescape")], BODY, f"sha256={digest}") == 0


@given(st.text(), st.binary())
def test_no_header_makes_anything_but_a_refusal(header: str, body: bytes) -> None:
    with pytest.raises(BadSignature):
        verify_signature([SECRET], body, header)


@given(
    st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), min_size=1, unique=True),
    st.binary(),
    st.data(),
)
def test_what_a_secret_signs_it_also_verifies(secrets: list[str], body: bytes, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(secrets) - 1))
    found = verify_signature(secrets, body, sign(secrets[index], body))
    assert hmac.compare_digest(sign(secrets[found], body), sign(secrets[index], body))
