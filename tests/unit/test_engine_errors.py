from __future__ import annotations

from typing import TYPE_CHECKING

import aiodocker
import aiohttp
import pytest

from app.engine.client import Engine, engine_errors, parse_time
from app.errors import AppError, EngineRefused, EngineUnavailable, SettingsInvalid, SwarmUnavailable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("raised", "ours"),
    [
        (aiodocker.DockerError(900, "Cannot connect to Docker Engine via x"), EngineUnavailable),
        (aiodocker.DockerError(503, "This node is not a swarm manager."), SwarmUnavailable),
        (aiodocker.DockerError(409, "name conflicts"), EngineRefused),
        (aiohttp.ClientPayloadError("cut"), EngineUnavailable),
        (TimeoutError(), EngineUnavailable),
        (ConnectionResetError(), EngineUnavailable),
    ],
)
def test_every_failure_of_the_library_becomes_ours(raised: Exception, ours: type[AppError]) -> None:
    with pytest.raises(ours, match="do the thing"), engine_errors("do the thing"):
        raise raised


def test_bugs_stay_bugs() -> None:
    with pytest.raises(KeyError), engine_errors("do the thing"):
        raise KeyError("bug")


@pytest.mark.parametrize("host", ["/var/run/docker.sock", "ftp://engine", "engine:2375"])
async def test_address_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(SettingsInvalid, match="DOCKER_HOST"):
        Engine.open(host)


async def test_missing_certificates_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"DOCKER_CERT_PATH.*ca\.pem"):
        Engine.open("tcp://127.0.0.1:2376", tls_verify=True, cert_path=tmp_path)


def test_times_of_the_engine() -> None:
    parsed = parse_time("2026-11-24T15:09:56.973110782Z")
    assert parsed is not None
    assert parsed.isoformat() == "2026-11-24T15:09:56.973110+00:00"
    assert parse_time("0001-01-01T00:00:00Z") is None
    assert parse_time("") is None
    assert parse_time(None) is None
