"""Whom our HTTP clients believe to be who they say they are."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import ssl


def trust() -> ssl.SSLContext:
    """The certificates that httpx trusts: its own, or those that SSL_CERT_FILE or SSL_CERT_DIR name now. They are read
    once for all clients of this process: that is most of what making a client costs.
    """
    return _read(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _read(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()
