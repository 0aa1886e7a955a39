"""Is this request really from GitHub? Pure; the bytes must be those that came over the wire.

Only ``X-Hub-Signature-256`` counts. The older SHA-1 header is refused rather than accepted as a fallback, since whoever
can choose the header would choose the weaker one.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Final

from app.errors import BadSignature

if TYPE_CHECKING:
    from collections.abc import Sequence

SHAPE: Final = re.compile(r"sha256=([0-9a-fA-F]{64})", re.ASCII)


def sign(secret: str, body: bytes) -> str:
    """The value of ``X-Hub-Signature-256`` that GitHub sends for this body and secret."""
    return f"sha256={_digest(secret, body).hex()}"


def verify_signature(secrets: Sequence[str], body: bytes, header: str | None) -> int:
    """Return the index of the secret that signed ``body``; ``header`` is the value of ``X-Hub-Signature-256``.

    Raises ``BadSignature`` for a header that is missing or malformed, and when no secret fits.
    """
    check = SignatureCheck(secrets, header)
    check.update(body)
    return check.verify()


class SignatureCheck:
    """The check of one body that arrives in parts. Making it raises ``BadSignature`` for a header that is missing or
    malformed.
    """

    def __init__(self, secrets: Sequence[str], header: str | None) -> None:
        self._given = given_digest(header)
        self._computed = [hmac.new(_key(secret), digestmod="sha256") for secret in secrets]

    def update(self, part: bytes) -> None:
        """Take in the next part of the body."""
        for computed in self._computed:
            computed.update(part)

    def verify(self) -> int:
        """The index of the secret that signed what was taken in.

        Every secret is tried, in constant time over bytes, so that neither time nor answer tells which one is right.
        Raises ``BadSignature`` when no secret fits.
        """
        fits = [hmac.compare_digest(computed.digest(), self._given) for computed in self._computed]
        if not any(fits):
            raise BadSignature(
                "the signature does not fit the body; the webhook's secret on GitHub must be our GITHUB_WEBHOOK_SECRET"
            )
        return fits.index(True)


def given_digest(header: str | None) -> bytes:
    """The digest that the header claims, which can be refused before the body is read. Raises ``BadSignature``."""
    if header is None:
        raise BadSignature(
            "the request has no X-Hub-Signature-256 header; give the webhook on GitHub our GITHUB_WEBHOOK_SECRET"
        )
    shape = SHAPE.fullmatch(header)
    if shape is None:
        raise BadSignature("the X-Hub-Signature-256 header is not sha256= and 64 hexadecimal digits")
    return bytes.fromhex(shape[1])


def _digest(secret: str, body: bytes) -> bytes:
    return hmac.digest(_key(secret), body, "sha256")


def _key(secret: str) -> bytes:
    return secret.encode("utf-8", "surrogateescape")  # as os.environ decoded it
