"""Which builder makes an image."""

from __future__ import annotations

import pytest

from app.builds.builder import base_images, choose_builder, not_limited
from app.engine.shape import Builder, BuildLimits, EngineInfo

DIGEST = f"sha256:{'0' * 64}"
PLAIN = "FROM busybox\nRUN true\n"
MODERN = "FROM busybox\nRUN --mount=type=cache,target=/c true\n"


def engine(api: tuple[int, int] = (1, 41), os: str = "linux") -> EngineInfo:
    return EngineInfo("x", api, os, swarm_active=True, swarm_manager=True, nodes=1, ipvs=True)


@pytest.mark.parametrize(
    ("info", "dockerfile", "hidden", "missing", "chosen"),
    [
        (engine(), PLAIN, False, [], Builder.BUILDKIT),
        (engine((1, 38)), PLAIN, False, [], Builder.CLASSIC),
        (engine(os="windows"), PLAIN, False, [], Builder.CLASSIC),
        (engine(), PLAIN, True, [], Builder.CLASSIC),
        (engine(), MODERN, True, [], Builder.BUILDKIT),
        (engine(), PLAIN, False, ["busybox"], Builder.CLASSIC),
        (engine(), MODERN, False, ["busybox"], Builder.BUILDKIT),
        (engine((1, 42)), PLAIN, False, ["busybox"], Builder.BUILDKIT),
    ],
)
def test_buildkit_builds_unless_only_the_classic_builder_does_it_right(
    info: EngineInfo, dockerfile: str, hidden: bool, missing: list[str], chosen: Builder
) -> None:
    assert choose_builder(info, dockerfile, hidden=hidden, missing_bases=missing) is chosen


@pytest.mark.parametrize(
    ("limits", "dockerfile", "chosen", "said"),
    [
        (BuildLimits(), PLAIN, Builder.BUILDKIT, None),
        (BuildLimits(network="none"), PLAIN, Builder.BUILDKIT, None),
        (BuildLimits(memory_bytes=1), PLAIN, Builder.CLASSIC, None),
        (BuildLimits(cpus=0.5), PLAIN, Builder.CLASSIC, None),
        (BuildLimits(cpus=0.5, network="none"), MODERN, Builder.BUILDKIT, "TAGSHIP_BUILD_CPUS cannot be enforced"),
        (
            BuildLimits(memory_bytes=1, cpus=0.5),
            MODERN,
            Builder.BUILDKIT,
            "TAGSHIP_BUILD_MEMORY_MB and TAGSHIP_BUILD_CPUS cannot be enforced",
        ),
    ],
)
def test_limits_want_the_builder_that_keeps_to_them_and_are_never_left_out_silently(
    limits: BuildLimits, dockerfile: str, chosen: Builder, said: str | None
) -> None:
    assert choose_builder(engine(), dockerfile, hidden=False, missing_bases=[], limits=limits) is chosen
    line = not_limited(chosen, limits)
    assert (line is None) is (said is None)
    assert (said or "") in (line or "")


@pytest.mark.parametrize(
    ("dockerfile", "bases"),
    [
        ("FROM busybox\n", ["busybox"]),
        ("from --platform=linux/amd64 python:3.12 AS build\nFROM build\nFROM scratch\n", ["python:3.12"]),
        (f"# syntax=docker/dockerfile:1\nARG V=1\nFROM a:$V \\\n  AS x\nFROM b@{DIGEST}\n", ["a:1", f"b@{DIGEST}"]),
        ('ARG R=r.example\nARG B="${R}/b"\nFROM $B:${V:-2}\nARG R=x\nFROM $R/c\n', ["r.example/b:2", "r.example/c"]),
        ("ARG R\nFROM ${R:+x/}a${R:+:1}\n", ["a"]),
        (
            "FROM a AS x\nCOPY --from=x /a /b\nCOPY --chown=1 --from=r.example/t:1 /a /b\nCOPY --from=0 a b\n",
            ["a", "r.example/t:1"],
        ),
        ("", []),
    ],
)
def test_base_images_are_read_without_own_stages(dockerfile: str, bases: list[str]) -> None:
    assert base_images(dockerfile) == bases


def test_a_build_argument_goes_before_the_default_of_a_base() -> None:
    dockerfile = "ARG BASE=a\nARG TAG\nFROM $BASE:$TAG\n"
    assert base_images(dockerfile, {"BASE": "r.example/b", "TAG": "3", "OTHER": "x"}) == ["r.example/b:3"]
