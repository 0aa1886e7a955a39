"""The signature of a webhook of our own, per the Standard Webhooks scheme (version v1, HMAC-SHA256)."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from typing import TYPE_CHECKING, Final

from standardwebhooks.webhooks import Webhook

if TYPE_CHECKING:
    from datetime import datetime

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
SHORTEST: Final = 24
LONGEST: Final = 64
BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)


def new_secret() -> str:
    """A fresh secret, in the form that both sides write down."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def is_secret(text: str) -> bool:
    """Whether a text is ``whsec_`` and, in base64, as many bytes as the scheme asks for: 24 to 64."""
    encoded = text.removeprefix(PREFIX)
    if encoded == text or not BASE64.fullmatch(encoded):
        return False
    try:
        return SHORTEST <= len(base64.b64decode(encoded, validate=True)) <= LONGEST
    except binascii.Error:
        return False


def signed_headers(secret: str, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers by which a receiver knows the sender, the time (UTC) and what it has seen already."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }
