"""The types of single fields: what is allowed, said once, for every model that has such a field."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from app.products.model import LONGEST_SLUG, SLUG
from app.products.pins import LONGEST_TRACK, is_range

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
REPO: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}/[A-Za-z0-9._-]{1,100}", re.ASCII)
IMAGE_PART: Final = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-{1,8})[a-z0-9]+)*", re.ASCII)
ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
BAD_IN_GIT_REF: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^/|/$|\.$|(?:^|/)\.|\.lock(?:/|$)")
MOST_ENV_CHARACTERS: Final = 256 * 1024


def _no_controls(value: str) -> str:
    if CONTROL.search(value):
        raise ValueError("must not contain control characters")
    return value


def _repo(value: str) -> str:
    if not REPO.fullmatch(value) or value.endswith(("/.", "/..")):
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
    if CONTROL.search(value) or value.startswith("/") or "\\" in value:
        raise ValueError("must be a relative path with / between its parts")
    clean = posixpath.normpath(value)
    if clean == ".." or clean.startswith("../"):
        raise ValueError("must stay inside the repository")
    return clean


def _slug(value: str) -> str:
    if len(value) > LONGEST_SLUG or not SLUG.fullmatch(value):
        raise ValueError(f"must be lower-case letters, digits and single hyphens, {LONGEST_SLUG} characters at most")
    return value


def _track(value: str) -> str:
    _no_controls(value)
    if not value.strip() or (not is_range(value) and not re.search(r"[*?\[]", value)):
        raise ValueError("must be a semver range such as ^1.2 or a glob such as v2.*")
    return value


def _env(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not ENV_NAME.fullmatch(name):
            raise ValueError(f"{name[:50]!r} is not a name of an environment variable")
        if "\x00" in text:
            raise ValueError(f"the value of {name} contains a NUL character")
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
    if isinstance(value, list) and value[0] not in {"CMD", "CMD-SHELL", "NONE"}:
        raise ValueError("must begin with CMD or CMD-SHELL, or be a plain string for the shell")
    return value


Repo = Annotated[str, StringConstraints(min_length=3, max_length=140), AfterValidator(_repo)]
ImageName = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_image_name)]
GitTag = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_git_tag)]
CommitSha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_controls)]
RelativePath = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_relative_path)]
Target = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
BuildArgs = Annotated[dict[str, str], Field(max_length=200), AfterValidator(_build_args)]
DisplayName = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_no_controls)]
CheckText = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
CheckTest = Annotated[
    CheckText | Annotated[list[CheckText], Field(min_length=2, max_length=100)], AfterValidator(_check)
]
SearchText = Annotated[str, StringConstraints(max_length=255), AfterValidator(_no_controls)]
Slug = Annotated[str, StringConstraints(min_length=1), AfterValidator(_slug)]
Track = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TRACK), AfterValidator(_track)]
Port = Annotated[int, Field(ge=1, le=65535)]
Replicas = Annotated[int, Field(ge=1, le=1000)]
RowId = Annotated[int, Field(ge=1, le=2**63 - 1)]
Env = Annotated[dict[str, str], Field(max_length=1000), AfterValidator(_env)]
