"""The types of single fields: what is allowed, said once, for every model that has such a field.

A rule is checked by a function whose refusal is a sentence, and shown in the OpenAPI document as a pattern.
"""

from __future__ import annotations

import posixpath
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from app.products.model import LONGEST_SLUG, SLUG
from app.products.pins import LONGEST_TRACK, is_range
from app.settings import HOST

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
REPO: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}/[A-Za-z0-9._-]{1,100}", re.ASCII)
IMAGE_PART: Final = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-{1,8})[a-z0-9]+)*", re.ASCII)
ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
BAD_IN_GIT_REF: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^/|/$|\.$|(?:^|/)\.|\.lock(?:/|$)")
BAD_IN_PATH: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|^/|(?:^|/)\.\.(?:/|$)")
NUMBER: Final = r"(?:0|[1-9][0-9]{0,8})"
WHOLE: Final = (
    rf"{NUMBER}(?:\.{NUMBER}){{2}}(?:-[0-9A-Za-z]+(?:[.-][0-9A-Za-z]+)*)?(?:\+[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)*)?"
)
VERSION: Final = rf"v?(?:{WHOLE}|(?:{NUMBER}|[xX*])(?:\.(?:{NUMBER}|[xX*])){{0,2}})"
COMPARATOR: Final = rf"(?:\^|~>?|[<>]=?|=)? ?{VERSION}"
RANGE: Final = rf"{COMPARATOR}(?:(?: ?\|\| ?| ){COMPARATOR}| - {VERSION})*"
GLOB: Final = r"[^\x00-\x1f\x7f-\x9f]*[*?\[][^\x00-\x1f\x7f-\x9f]*"
TRACK: Final = rf"{RANGE}|{GLOB}"
# The same without a way back: a part of RANGE can be read in two ways, and what fails at its end would try them all.
RANGE_AT_ONCE: Final = re.compile(rf"(?>{COMPARATOR})(?>(?: ?\|\| ?| )(?>{COMPARATOR})| - (?>{VERSION}))*+", re.ASCII)
LABEL: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)
IN_URL: Final = re.compile(r"[!-~]+", re.ASCII)
ADDRESS: Final = r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(?::[1-9][0-9]{0,3})?(?:[/?][!-\"$-~]*)?"
RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
LARGEST_ID: Final = 2**63 - 1  # of a bigint
LONGEST_VARIABLE: Final = 128 * 1024  # of NAME=value: MAX_ARG_STRLEN, execve(2)
MOST_ENV_CHARACTERS: Final = 256 * 1024


def _no_controls(value: str) -> str:
    if CONTROL.search(value):
        raise ValueError("must not contain control characters")
    return value


def _repo(value: str) -> str:
    if not REPO.fullmatch(value) or value.lower().endswith(("/.", "/..", ".git")):
        raise ValueError("must be owner/name as on GitHub")
    return value


def _image_name(value: str) -> str:
    parts = value.split("/")
    if not all(IMAGE_PART.fullmatch(part) for part in parts):
        raise ValueError(
            "must be a Docker repository name: lower-case letters and digits, separated by single . _ or -"
        )
    if len(parts) > 1 and ("." in parts[0] or parts[0] == "localhost"):
        raise ValueError("must not begin with the host of a registry")
    return value


def _git_tag(value: str) -> str:
    if BAD_IN_GIT_REF.search(value):
        raise ValueError("is not a tag name that Git allows")
    return value


def _relative_path(value: str) -> str:
    if BAD_IN_PATH.search(value):
        raise ValueError("must be a relative path inside the repository, with / between its parts and without ..")
    return posixpath.normpath(value)


def _slug(value: str) -> str:
    if len(value) > LONGEST_SLUG or not SLUG.fullmatch(value):
        raise ValueError(f"must be lower-case letters, digits and single hyphens, {LONGEST_SLUG} characters at most")
    return value


def _track(value: str) -> str:
    is_glob = re.search(r"[*?\[]", value) and not CONTROL.search(value)
    if not is_glob and not (RANGE_AT_ONCE.fullmatch(value) and is_range(value)):
        raise ValueError("must be a semver range such as ^1.2 or a glob such as v2.*")
    return value


def _env(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not ENV_NAME.fullmatch(name):
            raise ValueError(f"{name[:50]!r} is not a name of an environment variable")
        if "\x00" in text:
            raise ValueError(f"the value of {name} contains a NUL character")
        if len(f"{name}={text}".encode()) >= LONGEST_VARIABLE:
            raise ValueError(f"the value of {name} is longer than the {LONGEST_VARIABLE:,} bytes that Linux allows")
        if "{{" in text:
            raise ValueError(f"the value of {name} contains {{{{, which Docker Swarm would read as a template")
    if sum(len(name) + len(text) for name, text in value.items()) > MOST_ENV_CHARACTERS:
        raise ValueError(f"must not have more than {MOST_ENV_CHARACTERS} characters in all")
    return value


def _build_args(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not ENV_NAME.fullmatch(name) or "\x00" in text:
            raise ValueError(f"{name[:50]!r} is not a build argument with a plain value")
    return value


def _check(value: str | list[str]) -> str | list[str]:
    if "\x00" in "".join(value):
        raise ValueError("must not contain NUL characters")
    if isinstance(value, list) and value[0] not in {"CMD", "CMD-SHELL"}:
        raise ValueError("must begin with CMD or CMD-SHELL, or be a plain string for the shell")
    return value


def _label(value: str) -> str:
    if not LABEL.fullmatch(value):
        raise ValueError("must be plain ASCII characters, without blanks at its ends")
    return value


def _webhook_url(value: str) -> str:
    """Refusals never repeat the address: it is a secret."""
    try:
        parts = urlsplit(value)
        usable = parts.port != 0 and bool(HOST.fullmatch(parts.hostname or ""))
    except ValueError:
        usable, parts = False, None
    if not usable or parts is None or parts.scheme not in {"http", "https"} or not IN_URL.fullmatch(value):
        raise ValueError("must be an https:// or http:// address in plain ASCII")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a password")
    if parts.fragment:
        raise ValueError("must not have a fragment (#)")
    return value


def _rfc3339(value: Any) -> datetime:
    if not isinstance(value, str) or not RFC3339.fullmatch(value):
        raise ValueError("must be a time with its offset, such as 2030-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is no time that a calendar has") from None


def _whole(value: object) -> object:
    """JSON knows one kind of number: 3.0 is 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(pattern: str, example: str | None = None, **more: Any) -> Any:
    """What the OpenAPI document says of a field whose rule is checked by a function."""
    shown: dict[str, Any] = {"pattern": f"^(?:{pattern})$", **more}
    if example is not None:
        shown["examples"] = [example]
    return Field(json_schema_extra=shown)


PLAIN: Final = _shown(r"[^\x00-\x1f\x7f-\x9f]*")
NAMED: Final = {"propertyNames": {"pattern": f"^{ENV_NAME.pattern}$"}}
ENV_VALUE: Final = {"type": "string", "pattern": r"^(?:[^\x00{]|\{(?!\{))*$"}

Repo = Annotated[
    str,
    StringConstraints(min_length=3, max_length=140),
    AfterValidator(_repo),
    _shown(REPO.pattern, "acme/bre-payments", **{"not": {"pattern": r"/\.{1,2}$|\.[gG][iI][tT]$"}}),
]
ImageName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128),
    AfterValidator(_image_name),
    _shown(rf"{IMAGE_PART.pattern}(?:/{IMAGE_PART.pattern})*", **{"not": {"pattern": r"^(?:[^/]*\.[^/]*|localhost)/"}}),
]
GitTag = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    AfterValidator(_git_tag),
    _shown(r"[^\x00-\x20\x7f~^:?*\[\\]+", "v1.3.0", **{"not": {"pattern": BAD_IN_GIT_REF.pattern}}),
]
CommitSha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_controls), PLAIN]
RelativePath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1000),
    AfterValidator(_relative_path),
    _shown(r"[^\x00-\x1f\x7f-\x9f\\]*", **{"not": {"pattern": BAD_IN_PATH.pattern}}),
]
Target = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
BuildArgs = Annotated[
    dict[str, str],
    Field(
        max_length=200,
        json_schema_extra={**NAMED, "additionalProperties": {"type": "string", "pattern": "^[^\\x00]*$"}},
    ),
    AfterValidator(_build_args),
]
DisplayName = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_no_controls), PLAIN]
CheckText = Annotated[str, StringConstraints(min_length=1, max_length=4000), _shown(r"[^\x00]*")]
CheckWords = Annotated[
    list[CheckText],
    Field(min_length=2, max_length=100, json_schema_extra={"prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}]}),
]
CheckTest = Annotated[CheckText | CheckWords, AfterValidator(_check)]
SearchText = Annotated[str, StringConstraints(max_length=255), AfterValidator(_no_controls), PLAIN]
Slug = Annotated[
    str,
    StringConstraints(min_length=1),
    AfterValidator(_slug),
    _shown(SLUG.pattern, "allianz", maxLength=LONGEST_SLUG),
]
Track = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_TRACK),
    AfterValidator(_track),
    _shown(TRACK, "^1.2"),
]
Port = Annotated[int, Field(ge=1, le=65535, examples=[8001]), BeforeValidator(_whole)]
Replicas = Annotated[int, Field(ge=1, le=1000, examples=[2]), BeforeValidator(_whole)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_label), _shown(LABEL.pattern)]
WebhookUrl = Annotated[
    str,
    StringConstraints(max_length=2000),
    AfterValidator(_webhook_url),
    _shown(ADDRESS),
]
Moment = Annotated[datetime, BeforeValidator(_rfc3339), Field(examples=["2030-01-31T12:00:00Z"])]
RowId = Annotated[int, Field(ge=1, le=LARGEST_ID)]
IdIn = Annotated[RowId, BeforeValidator(_whole)]
Count = Annotated[int, Field(ge=1, le=1000), BeforeValidator(_whole)]
Env = Annotated[
    dict[str, str],
    Field(max_length=1000, json_schema_extra={**NAMED, "additionalProperties": ENV_VALUE}),
    AfterValidator(_env),
]
