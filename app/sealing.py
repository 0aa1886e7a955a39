"""Values that are stored so that the database alone does not give them away, and env values that people see masked.

AES-256-GCM with a random nonce; the context (whose value it is) is authenticated with it, so that a value moved to
another row does not open. The form is ``v1:<key id>:<nonce>:<ciphertext>``; the key id tells which key to take during a
rotation.
Also the secrets that are made at first start and kept in files.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hmac
import os
import secrets
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import AppError
from app.mask import MASK

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VERSION: Final = "v1"
NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
ID_BYTES: Final = 4
NO_LINKS: Final = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP}


class SealBroken(AppError):
    """A sealed value does not open: another key, another row, or changed."""


class SecretFileUnusable(AppError):
    """The file of a secret can be neither read nor made."""


class Vault:
    """Seals with its first key and opens with any; one vault per process."""

    def __init__(self, *secret_keys: str) -> None:
        if not secret_keys:
            raise ValueError("a vault needs a key")
        self._ciphers = {_derive(secret, b"id", ID_BYTES).hex(): _cipher(secret) for secret in reversed(secret_keys)}
        self._newest = _derive(secret_keys[0], b"id", ID_BYTES).hex()
        self._signing_key = _derive(secret_keys[0], b"sign", KEY_BYTES)

    @classmethod
    def from_secret(cls, secret: str, *older: str) -> Vault:
        """A vault that seals with ``secret`` and still opens what was sealed with ``older`` ones.

        Secrets are stretched to keys by HKDF, which does not make a guessable one hard to guess.
        """
        return cls(secret, *older)

    def sign(self, text: str, purpose: str) -> str:
        """A signature of ``text`` for this purpose only: HMAC-SHA256, 43 characters that fit cookies and headers."""
        signed = hmac.digest(self._signing_key, f"{purpose}:{text}".encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()

    def has_signed(self, text: str, purpose: str, signature: str) -> bool:
        """Whether this vault made that signature; takes as long for every wrong one."""
        return hmac.compare_digest(self.sign(text, purpose).encode(), signature.encode("utf-8", "surrogatepass"))

    def seal(self, data: bytes, context: str) -> str:
        """The sealed form of ``data``, ASCII, which opens for the same ``context`` only."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, data, _bound(context))
        return ":".join((VERSION, self._newest, _to_text(nonce), _to_text(sealed)))

    def open(self, sealed: str, context: str) -> bytes:
        """What was sealed; raises ``SealBroken`` with the reason."""
        try:
            key_id, nonce, ciphertext = _parts_of(sealed)
        except ValueError:
            raise SealBroken(f"the value stored for {context} is not a sealed value; write it anew") from None
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealBroken(
                f"the value stored for {context} was sealed with another secret key (key id {key_id}); "
                "set TAGSHIP_SECRET_KEY to the key of that time, or write the value anew"
            )
        try:
            return cipher.decrypt(nonce, ciphertext, _bound(context))
        except (InvalidTag, ValueError):
            raise SealBroken(
                f"the value stored for {context} was changed or belongs to something else; write it anew"
            ) from None


def mask_env(env: Mapping[str, str]) -> dict[str, str]:
    """The same names, every value masked."""
    return dict.fromkeys(env, MASK)


def merge_masked(new: Mapping[str, str], old: Mapping[str, str]) -> dict[str, str]:
    """``new``, where the mask as a value stands for the old value of that name.

    Raises ``ValueError`` naming the variables whose mask stands for nothing.
    """
    unknown = sorted(name for name, value in new.items() if value == MASK and name not in old)
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: {MASK} stands for the present value, and there is none; give a value")
    return {name: old[name] if value == MASK else value for name, value in new.items()}


def load_or_create_secret(path: Path, nbytes: int = 32) -> str:
    """The secret in the file; at the first call it is made of ``nbytes`` random bytes, readable by its owner only.

    Processes that start together get the same secret: the file appears whole, and the first one wins.
    Raises ``SecretFileUnusable``.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _place_new(path, secrets.token_urlsafe(nbytes))
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise SecretFileUnusable(f"the secret file {path} cannot be used: {reason}") from None
    if not secret:
        raise SecretFileUnusable(f"the secret file {path} is empty; delete it to have a new secret made, or write one")
    return secret


def _place_new(path: Path, secret: str) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())
        _publish(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _publish(fresh: Path, path: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):  # another process was first: its secret it is
            path.hardlink_to(fresh)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        fresh.rename(path)  # a file system without links: whole all the same, but the last one wins


def _cipher(secret: str) -> AESGCM:
    return AESGCM(_derive(secret, b"key", KEY_BYTES))


def _derive(secret: str, purpose: bytes, length: int) -> bytes:
    kdf = HKDF(algorithm=SHA256(), length=length, salt=None, info=b"tagship/sealing/v1/" + purpose)
    return kdf.derive(secret.encode())


def _bound(context: str) -> bytes:
    return f"{VERSION}:{context}".encode()


def _parts_of(sealed: str) -> tuple[str, bytes, bytes]:
    """Key id, nonce and ciphertext; raises ``ValueError`` when it is not our form."""
    version, key_id, nonce, ciphertext = sealed.split(":")
    if version != VERSION:
        raise ValueError(version)
    return key_id, _to_bytes(nonce), _to_bytes(ciphertext)


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _to_bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
