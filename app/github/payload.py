"""What a signed delivery says, as one of two small values. Pure: bytes in, value out; a fault is ``PayloadInvalid``.

Our own lenient models instead of GitHub's full schema: that one refuses GitHub's own examples and whatever an older
GitHub Enterprise Server leaves out. Text that we keep must be text PostgreSQL can hold: no NUL, no lone surrogate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import PayloadInvalid
from app.github.slim import NotAnObject, strict_object

TAGS: Final = "refs/tags/"
BRANCHES: Final = "refs/heads/"
NO_COMMIT: Final = "0" * 40

JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
MOST_FORM_FIELDS: Final = 10

# GitHub's limit is below 255 bytes; names of some 2,700 no index of PostgreSQL holds. Git refuses control characters.
LONGEST_REF: Final = 1024
LONGEST_NAME: Final = 100
CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")
EVENT_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)

NOT_OURS: Final = {
    "ping": "ping: the webhook reaches us",
    "create": "create: the push event of the same tag is what starts a build",
    "delete": "delete: a deleted tag changes nothing",
    "release": "release: the push event of its tag is what starts a build",
}


class TagChange(StrEnum):
    """What a push did to a tag."""

    CREATED = "created"
    MOVED = "moved"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class TagPush:
    """One tag was pushed. ``repo`` is ``owner/name``; ``tag`` and ``ref`` are verbatim.

    ``commit`` is the 40-digit commit that the tag points to, None when GitHub named none (deleted, or to be looked up);
    it is not the payload's ``after``, which for an annotated tag is the tag object. ``pusher`` is who pushed, as far as
    the payload says; it makes no difference to what is asked for.
    """

    repo: str
    tag: str
    ref: str
    kind: TagChange
    commit: str | None
    pusher: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class NotATagPush:
    """A delivery that starts nothing; ``reason`` is the sentence for people."""

    reason: str
    repo: str | None = None
    ref: str | None = None


Sha = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{40}$"), Field(max_length=40)]
RepoName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", max_length=255)]


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Repository(_Lenient):
    full_name: RepoName


class _Commit(_Lenient):
    id: Sha


class _Push(_Lenient):
    ref: str
    before: Sha
    after: Sha
    repository: _Repository
    created: bool | None = None
    deleted: bool | None = None
    head_commit: _Commit | None = None


def parse_event(event: str, content_type: str, body: bytes) -> TagPush | NotATagPush:
    """Read one delivery: ``event`` is ``X-GitHub-Event``, ``content_type`` the request's, ``body`` as it was signed.

    Raises ``PayloadInvalid`` when the body is not what GitHub sends for that event.
    """
    return event_of(event, _json_object(json_text(content_type, body)))


def event_of(event: str, payload: dict[str, Any]) -> TagPush | NotATagPush:
    """What a payload says; only its plain values and those of the objects in it make a difference.

    Raises ``PayloadInvalid`` as ``parse_event`` does.
    """
    if event != "push":
        return _ignore(event, payload)
    ref = payload.get("ref")
    if not isinstance(ref, str) or not is_ref(ref):
        raise PayloadInvalid("the push payload names no usable ref")
    if not ref.startswith(TAGS):
        what = f"branch {ref.removeprefix(BRANCHES)}" if ref.startswith(BRANCHES) else ref
        return NotATagPush(f"push to {what}: only tags start builds", _repo_of(payload), ref)
    return _tag_push(payload)


def payload_text(content_type: str, body: bytes) -> str:
    """The payload of a delivery as it was written: the text of a JSON object, which PostgreSQL may not be able to hold.

    Raises ``PayloadInvalid`` when there is none.
    """
    text = json_text(content_type, body)
    _json_object(text)
    return text


def _tag_push(payload: dict[str, Any]) -> TagPush:
    try:
        push = _Push.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PayloadInvalid(f"the push payload is not as GitHub sends it: {place}: {first['msg']}") from None
    tag = push.ref.removeprefix(TAGS)
    if not tag:
        raise PayloadInvalid("the push payload names a tag without a name")
    kind = _kind(push)
    return TagPush(
        repo=push.repository.full_name,
        tag=tag,
        ref=push.ref,
        kind=kind,
        commit=push.head_commit.id.lower() if push.head_commit and kind is not TagChange.DELETED else None,
        pusher=_who(payload),
    )


def _who(payload: dict[str, Any]) -> str | None:
    """Who pushed; nothing depends on it, so that a payload without it, or with nonsense, is as good as any other."""
    for member, key in (("pusher", "name"), ("sender", "login")):
        person = payload.get(member)
        name = person.get(key) if isinstance(person, dict) else None
        if isinstance(name, str) and name.strip() and name.isprintable():
            return name[:LONGEST_NAME]
    return None


def _kind(push: _Push) -> TagChange:
    """The flags, and where an old server sends none (or they contradict the SHAs) the zero SHAs."""
    if push.deleted or push.after == NO_COMMIT:
        return TagChange.DELETED
    if push.created or push.before == NO_COMMIT:
        return TagChange.CREATED
    return TagChange.MOVED


def _ignore(event: str, payload: dict[str, Any]) -> NotATagPush:
    ref = payload.get("ref")
    if EVENT_NAME.fullmatch(event):
        reason = NOT_OURS.get(event, f"{event}: only pushes of tags start builds")
    else:
        reason = "an event without a known name: only pushes of tags start builds"
    return NotATagPush(reason, _repo_of(payload), ref if isinstance(ref, str) and is_ref(ref) else None)


def _repo_of(payload: dict[str, Any]) -> str | None:
    """The repository, when the delivery names one in a usable way; deliveries of an organisation's hook need not."""
    try:
        return _Repository.model_validate(payload.get("repository")).full_name
    except ValidationError:
        return None


def is_ref(ref: str) -> bool:
    """Whether a ref may be named so, and PostgreSQL can hold it."""
    try:
        return 0 < len(ref.encode()) <= LONGEST_REF and not CONTROL.search(ref)
    except UnicodeEncodeError:
        return False


def json_text(content_type: str, body: bytes) -> str:
    """The JSON of a delivery: the body itself, or the form field ``payload`` of it. Raises ``PayloadInvalid``."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in {JSON_TYPE, FORM_TYPE}:
        raise PayloadInvalid(f"the content type is neither {JSON_TYPE} nor {FORM_TYPE}")
    try:
        text = body.decode()
        if media_type == JSON_TYPE:
            return text
        fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_FORM_FIELDS)
    except ValueError:  # includes UnicodeDecodeError
        raise PayloadInvalid("the body is not UTF-8 text in the encoding its content type names") from None
    payloads = [value for name, value in fields if name == "payload"]
    if len(payloads) != 1:
        raise PayloadInvalid(f"the form has {len(payloads)} fields named payload instead of one")
    return payloads[0]


def _json_object(text: str) -> dict[str, Any]:
    try:
        return strict_object(text)
    except ValueError as error:  # a number of more than 4,300 digits is one too
        raise json_refusal(is_json=isinstance(error, NotAnObject)) from None


def json_refusal(*, is_json: bool) -> PayloadInvalid:
    """What is said of a body that is JSON but not an object, and of one that is not even JSON."""
    return PayloadInvalid("the JSON of the body is not an object" if is_json else "the body is not valid JSON")
