"""One image build on the engine: the request as data, and the engine's output as log text and an image.

Both builders answer with a stream of JSON objects. An HTTP 200 says nothing: a build succeeded only if the stream
named an image, carried no error and ended properly. Leaving the stream, by whatever way, stops the build.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urlencode

import aiohttp

from app.engine.mark import mark
from app.engine.output import BuildOutput, failure_sentence
from app.engine.shape import Builder
from app.engine.steps import remove_steps
from app.errors import AppError, BuildFailed, EngineRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection

    from app.engine.client import Engine
    from app.engine.shape import BuildEvent, BuildLimits, BuildRequest

ACTION: Final = "build the image"
CPU_PERIOD_US: Final = 100_000  # the kernel's own choice, and Docker's
CANCEL_TIMEOUT: Final = aiohttp.ClientTimeout(total=2)


def build_params(request: BuildRequest) -> list[tuple[str, str]]:
    """The query of ``POST /build`` as pairs, since ``t`` may repeat.

    ``pull`` stays unset: both builders then take a base image that the engine already has, without asking a registry.
    """
    params = [("dockerfile", request.dockerfile), *(("t", tag) for tag in request.tags)]
    if request.builder is Builder.BUILDKIT:
        params += [("version", "2"), ("buildid", request.build_id)]
    else:
        params += [("version", "1"), ("rm", "1"), ("forcerm", "1"), *_room(request.limits)]
        params.append(("extrahosts", mark(request.build_id)))
    if request.limits.network:
        params.append(("networkmode", request.limits.network))
    if request.target:
        params.append(("target", request.target))
    if request.build_args:
        params.append(("buildargs", _json(dict(request.build_args))))
    if request.labels:
        params.append(("labels", _json(dict(request.labels))))
    return params


def _room(limits: BuildLimits) -> list[tuple[str, str]]:
    """What only the classic builder takes: BuildKit gets it and does not keep to it (moby, builder-next).

    ``memswap`` is memory and swap together: with the same number a step cannot go on in the swap.
    """
    params = []
    if limits.memory_bytes is not None:
        params += [("memory", str(limits.memory_bytes)), ("memswap", str(limits.memory_bytes))]
    if limits.cpus is not None:
        params += [("cpuperiod", str(CPU_PERIOD_US)), ("cpuquota", str(round(limits.cpus * CPU_PERIOD_US)))]
    return params


async def stream_build(
    engine: Engine, request: BuildRequest, context: AsyncIterator[bytes]
) -> AsyncGenerator[BuildEvent]:
    """Build an image from a tar that is uploaded while the output is read; the last event is ``ImageMade``.

    Yields the log in the engine's order. Closing the generator or cancelling its consumer stops the build at once and
    waits neither for it nor for the upload. Raises what ``context`` raises, ``BuildFailed`` with the step that failed,
    ``EngineRefused`` when the engine lacks the builder, and ``EngineUnavailable`` when the stream ends early.
    """
    upload, output = _Upload(context), BuildOutput()
    path = f"build?{urlencode(build_params(request), quote_via=quote)}"
    over = False
    try:
        async with engine.stream(ACTION, path, "POST", body=upload, content_type="application/x-tar") as response:
            async for chunk in response.content.iter_any():
                for event in output.feed(chunk):
                    yield event
            for event in output.close():
                yield event
        over = True
    except AppError as error:
        over = isinstance(error, BuildFailed | EngineRefused)
        if upload.failure is not None:
            raise upload.failure from None
        if isinstance(error, EngineRefused):
            raise _early_failure(error, request.builder) from error
        raise
    finally:
        if not over and request.builder is Builder.BUILDKIT:
            await _cancel(engine, request.build_id)


def _early_failure(error: EngineRefused, builder: Builder) -> AppError:
    """The classic builder reports a bad or missing Dockerfile as an HTTP error, BuildKit only that it is not there."""
    if builder is Builder.BUILDKIT and "buildkit" in error.message.lower():
        return error
    return BuildFailed(failure_sentence("", error.message, None))


async def stop_builds(engine: Engine, build_ids: Collection[str]) -> None:
    """Stop the builds of these names that still run, as those of a worker that hangs do, and remove the containers that
    they or a dead engine left. Best effort: of a classic build that is between two steps there is nothing to be found.
    """
    for build_id in build_ids:
        await _cancel(engine, build_id)
    with contextlib.suppress(AppError):
        await remove_steps(engine, build_ids)


async def _cancel(engine: Engine, build_id: str) -> None:
    """Ask BuildKit to drop the build of that name, if it runs: something between us may have kept a cut connection
    open. The classic builder knows no names. Best effort.
    """
    with contextlib.suppress(AppError):
        await engine.call("cancel the build", "build/cancel", "POST", params={"id": build_id}, timeout=CANCEL_TIMEOUT)


class _Upload:
    """The build context as aiohttp reads it; remembers its failure, which aiohttp would report as a lost connection.

    An iterator and no generator: aiohttp drops it half-read when the response ends, and the caller owns ``context``.
    """

    def __init__(self, context: AsyncIterator[bytes]) -> None:
        self._context = context
        self.failure: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._context)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self.failure = error
            raise


def _json(value: dict[str, str]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
