"""Which builder makes an image."""

from __future__ import annotations

import pytest

from app.builds.builder import base_images, choose_builder
from app.engine.shape import Builder, EngineInfo

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
    ("dockerfile", "bases"),
    [
        ("FROM busybox\n", ["busybox"]),
        ("from --platform=linux/amd64 python:3.12 AS build\nFROM build\nFROM scratch\n", ["python:3.12"]),
        ("# syntax=docker/dockerfile:1\nARG V=1\nFROM a:$V \\\n  AS x\nFROM b@sha256:0\n", ["a:$V", "b@sha256:0"]),
        ("FROM\nCOPY --from=other /a /b\n", []),
        ("", []),
    ],
)
def test_base_images_are_read_without_own_stages(dockerfile: str, bases: list[str]) -> None:
    assert base_images(dockerfile) == bases
