"""Whom our HTTP clients believe to be who they say they are."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import ssl


@cache
def trust() -> ssl.SSLContext:
    """The certificates that httpx trusts (its own, or those that SSL_CERT_FILE or SSL_CERT_DIR name), read once for all
    clients of this process: reading them is most of what making a client costs.
    """
    return httpx.create_ssl_context()
