"""Which of the engine's two builders makes an image, from what can be read off the Dockerfile before it is built.
Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from app.engine.shape import Builder, BuildLimits, EngineInfo
from app.reference import is_reference

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# Before API 1.42 (Docker 23) BuildKit cannot pull a base image for a build that has no client session: "no active
# sessions".
PULLS_WITHOUT_SESSION: Final = (1, 42)
NO_LIMITS: Final = BuildLimits()
LONGEST_VALUE: Final = 1024

HERE_DOCUMENT: Final = re.compile(r"""(?:^|\s)\d*<<-?(?:["']?)[A-Za-z_.]""")
BUILDKIT_FLAG: Final = re.compile(
    r"""(?:RUN\s+(?:--\S+\s+)*--(?:mount|network|security|device)[=\s]"""
    r"""|(?:COPY|ADD)\s+(?:--\S+\s+)*--(?:link|chmod|parents|exclude|checksum|keep-git-dir|unpack)\b)""",
    re.IGNORECASE,
)
PLATFORM_ARGUMENT: Final = re.compile(r"\b(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT)\b")
GIT_SOURCE: Final = re.compile(r"ADD\s+(?:--\S+\s+)*(?:git@|https?://\S+\.git(?:[#\s]|$))", re.IGNORECASE)
COPIED_FROM: Final = re.compile(r"COPY\s+(?:--\S+\s+)*--from=(\S+)", re.IGNORECASE)
VARIABLE: Final = re.compile(r"\$\{(\w+)(?::([-+])([^${}]*))?\}|\$(\w+)", re.ASCII)
DIRECTIVE: Final = re.compile(r"(?:#|//)\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(\S.*)")


def choose_builder(
    info: EngineInfo,
    dockerfile: str,
    *,
    hidden: bool,
    missing_bases: Collection[str],
    limits: BuildLimits = NO_LIMITS,
) -> Builder:
    """BuildKit where the engine has it, with three exceptions for a Dockerfile that does not need it.

    ``hidden``: its own ignore file hides the Dockerfile; only the classic builder keeps it out of ``COPY . .`` when the
    context is uploaded. ``missing_bases``: base images that are not on the engine; an old BuildKit cannot pull them.
    ``limits``: on memory and CPUs, which BuildKit does not keep to.
    """
    if not info.has_buildkit:
        return Builder.CLASSIC
    must_pull = bool(missing_bases) and info.api_version < PULLS_WITHOUT_SESSION
    better_classic = hidden or must_pull or bool(_settings_of_room(limits))
    return Builder.CLASSIC if better_classic and not needs_buildkit(dockerfile) else Builder.BUILDKIT


def not_limited(builder: Builder, limits: BuildLimits) -> str | None:
    """A line for the build's log when this builder does not keep to the limits that are set; None when it does."""
    unkept = _settings_of_room(limits)
    if builder is Builder.CLASSIC or not unkept:
        return None
    return (
        f"{' and '.join(unkept)} cannot be enforced here: this Dockerfile needs BuildKit, "
        "and only the classic builder has such limits\n"
    )


def _settings_of_room(limits: BuildLimits) -> list[str]:
    """The settings of those limits that only the classic builder keeps to."""
    wanted = (("TAGSHIP_BUILD_MEMORY_MB", limits.memory_bytes), ("TAGSHIP_BUILD_CPUS", limits.cpus))
    return [name for name, value in wanted if value is not None]


def base_images(dockerfile: str, build_args: Mapping[str, str] | None = None) -> list[str]:
    """The images that a Dockerfile begins or copies from, each once, without its own stages and ``scratch``.

    The ARGs before the first FROM have the value of ``build_args``, else their default, as in Docker.
    """
    stages: set[str] = {"scratch"}
    bases: list[str] = []
    values: dict[str, str] = {}
    for instruction in _instructions(dockerfile):
        words = [word for word in instruction.split() if not word.startswith("--")]
        keyword = words[0].upper() if words else ""
        if keyword == "ARG" and len(stages) == 1 and not bases:
            values |= _arguments(words[1:], values, build_args or {})
        elif keyword == "FROM" and len(words) > 1:
            base = _expanded(words[1], values)
            if base.lower() not in stages:
                bases.append(base)
            stages |= {name.lower() for name in words[3:4]}
        elif keyword == "COPY" and (found := COPIED_FROM.match(instruction)):
            bases += {found[1]} if found[1].lower() not in stages and not found[1].isdecimal() else ()
    return [base for base in dict.fromkeys(bases) if is_reference(base)]


def _arguments(words: list[str], values: Mapping[str, str], build_args: Mapping[str, str]) -> dict[str, str]:
    """The names that an ARG declares, with their values."""
    declared = {}
    for word in words:
        name, _, default = word.partition("=")
        declared[name] = build_args.get(name, _expanded(default.strip("\"'"), values))
    return declared


def _expanded(text: str, values: Mapping[str, str]) -> str:
    """``$NAME``, ``${NAME}``, ``${NAME:-word}`` and ``${NAME:+word}`` replaced by what they mean; never longer than any
    reference, for each value may hold others many times.

    >>> _expanded("${HOST:-registry.example}/base:$V", {"V": "3"})
    'registry.example/base:3'
    """

    def value(found: re.Match[str]) -> str:
        given = values.get(found[1] or found[4], "")
        if found[2] == "+":
            return str(found[3]) if given else ""
        return given or found[3] or ""

    return VARIABLE.sub(value, text[:LONGEST_VALUE])[:LONGEST_VALUE]


def needs_buildkit(dockerfile_text: str) -> bool:
    """Whether this Dockerfile builds wrongly or not at all with the engine's classic builder.

    True for a ``# syntax=`` directive, here-documents, flags and sources that only BuildKit knows (``RUN --mount``,
    ``COPY --chmod``, ``ADD`` of a git repository …), and the platform arguments that the classic builder leaves empty.
    """
    if "syntax" in _directives(_lines(dockerfile_text)):
        return True
    return any(_is_for_buildkit(line) for line in _instructions(dockerfile_text))


def _lines(dockerfile_text: str) -> list[str]:
    return dockerfile_text.removeprefix("\ufeff").splitlines()


def _directives(lines: list[str]) -> dict[str, str]:
    """Parser directives: ``# name=value`` lines at the very top; the first other line ends them."""
    directives: dict[str, str] = {}
    for index, line in enumerate(lines):
        if index == 0 and line.startswith("#!"):
            continue
        if (match := DIRECTIVE.match(line.strip())) is None:
            break
        directives.setdefault(match[1].lower(), match[2])
    return directives


def _instructions(dockerfile_text: str) -> list[str]:
    """The instructions, continued lines joined by a space, comments and a leading ``ONBUILD`` left out."""
    lines = _lines(dockerfile_text)
    escape = _directives(lines).get("escape", "\\")
    instructions: list[str] = []
    pending: list[str] = []
    for line in lines:
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        going_on = stripped.endswith(escape)
        pending.append(stripped.removesuffix(escape) if going_on else stripped)
        if not going_on:
            instructions.append(" ".join(pending))
            pending = []
    instructions.append(" ".join(pending))
    return [re.sub(r"^ONBUILD\s+", "", line, flags=re.IGNORECASE) for line in instructions]


def _is_for_buildkit(instruction: str) -> bool:
    keyword = instruction.split(maxsplit=1)[0].upper() if instruction.strip() else ""
    if keyword in {"RUN", "COPY", "ADD"} and HERE_DOCUMENT.search(instruction):
        return True
    return any(
        (BUILDKIT_FLAG.match(instruction), GIT_SOURCE.match(instruction), PLATFORM_ARGUMENT.search(instruction)),
    )
