"""A real Docker engine for the tests of this folder; everything they make carries the run's label and is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from app.engine.shape import Builder
from tests.engine.yard import Yard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from app.engine.client import Engine


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "builder" in metafunc.fixturenames:
        metafunc.parametrize("builder", list(Builder))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def yard(engine: Engine) -> AsyncIterator[Yard]:
    made = Yard(engine)
    yield made
    await made.clean()
