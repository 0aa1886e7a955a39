"""How a registry asks who we are, and how it says what is wrong: its headers and error bodies, read. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

LONGEST_REASON: Final = 200
SCHEME: Final = re.compile(r"\s*(Basic|Bearer)\b", re.IGNORECASE)
PARAMETER: Final = re.compile(r'(?<![A-Za-z_])([A-Za-z_]{1,40})\s{0,9}=\s{0,9}(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')
LINK: Final = re.compile(r'<([^<>]{1,2000})>\s*;\s*rel="?next"?', re.IGNORECASE)
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Challenge:
    """A ``WWW-Authenticate`` header; ``realm``, ``service`` and ``scope`` matter only for a bearer token."""

    bearer: bool
    realm: str = ""
    service: str = ""
    scope: str = ""


def read_challenge(header: str | None) -> Challenge | None:
    """The challenge of a 401 (distribution/spec/auth/token.md), None when it is none that we can meet.

    >>> read_challenge('Bearer realm="https://auth.example/token",service="r",scope="repository:a:pull,push"')
    Challenge(bearer=True, realm='https://auth.example/token', service='r', scope='repository:a:pull,push')
    """
    found = SCHEME.match(header or "")
    if header is None or found is None:
        return None
    if found[1].lower() == "basic":
        return Challenge(bearer=False)
    given = {name.lower(): quoted or plain for name, quoted, plain in PARAMETER.findall(header, found.end())}
    if not given.get("realm"):
        return None
    return Challenge(bearer=True, realm=given["realm"], service=given.get("service", ""), scope=given.get("scope", ""))


def refusal_reason(body: bytes) -> str:
    """The registry's own words in an error body (OCI distribution spec, "Error Codes"); "" when there are none."""
    try:
        errors = json.loads(body)["errors"]
        first = errors[0]
        words = f"{first['code']}: {first.get('message') or ''}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    return CONTROL.sub(" ", words).strip(": ")[:LONGEST_REASON]


def next_page(link: str | None) -> str | None:
    """The path and query of the next page in a ``Link`` header; the host is ours to know, so another one is dropped.

    >>> next_page('</v2/a/tags/list?last=v1&n=2>; rel="next"')
    '/v2/a/tags/list?last=v1&n=2'
    """
    found = LINK.search(link or "")
    if found is None:
        return None
    path = re.sub(r"^https?://[^/]*", "", found[1])
    return path if path.startswith("/v2/") else None
