"""The build context as an asynchronous stream: the rewriter in a thread, between two bounded pipes.

The event loop never reads, unpacks or matches anything itself, and neither side runs ahead of the other by more than a
pipe holds. Leaving ``open_context`` for whatever reason closes both pipes, at which the thread ends and its spool
vanishes.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import IO, TYPE_CHECKING, Final, cast

from app.builds.context import ContextPlan, ContextRewriter
from app.builds.limits import ContextLimits
from app.builds.pipe import Pipe, PipeClosed
from app.errors import DiskUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from app.engine.shape import Builder
    from app.repositories.recipe import Recipe

SPOOL_IN_MEMORY_BYTES: Final = 4 * 1024 * 1024
DEFAULT_LIMITS: Final = ContextLimits()


class BuildContext:
    """A context that is decided and not yet sent.

    ``dockerfile`` is the path in the emitted tar, ``dockerfile_hidden`` as in ``ContextPlan``. ``failure`` is what
    ended the stream early, None while all is well: whoever hands ``chunks`` to an HTTP client looks here first, for
    clients turn an exception of the body into one of their own.
    """

    def __init__(self, plan: ContextPlan, work: _Rewriting) -> None:
        self.dockerfile = plan.dockerfile
        self.dockerfile_text = plan.dockerfile_text
        self.dockerfile_hidden = plan.dockerfile_hidden
        self._work = work

    @property
    def failure(self) -> BaseException | None:
        return self._work.failure

    async def chunks(self, builder: Builder) -> AsyncIterator[bytes]:
        """The context as a tar for that builder, in pieces of about 256 KiB; once only.

        Raises what became ``failure``: ``SourceInvalid``, ``GitHubUnavailable``, ``DiskUnavailable`` or the archive's
        own error.
        """
        self._work.begin(builder)
        while piece := await self._work.packed.get():
            yield piece


@asynccontextmanager
async def open_context(
    archive: AsyncIterator[bytes],
    *,
    recipe: Recipe,
    commit: str,
    spool_dir: Path,
    limits: ContextLimits = DEFAULT_LIMITS,
) -> AsyncIterator[BuildContext]:
    """Read ``archive`` (GitHub's tarball) until the Dockerfile is known, and be ready to send its context.

    Raises ``SourceInvalid`` when the archive is of another commit than ``commit`` (40 hex digits), has no Dockerfile
    or is unsafe, ``GitHubUnavailable`` when it ends early, ``DiskUnavailable`` when ``spool_dir`` (which must exist)
    takes no more, and whatever ``archive`` raises. Takes the archive over: it is closed in the end.
    """
    loop = asyncio.get_running_loop()
    work = _Rewriting(loop, recipe=recipe, commit=commit, spool_dir=spool_dir, limits=limits)
    pump = asyncio.create_task(_pump(archive, work.unpacked))
    work.start()
    try:
        yield BuildContext(await work.planned, work)
    finally:
        work.stop()
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        await work.gone()


async def _pump(archive: AsyncIterator[bytes], pipe: Pipe) -> None:
    """Move the archive into the pipe; its error, if it ends in one, goes the same way."""
    try:
        async for piece in archive:
            await pipe.put(piece)
    except PipeClosed:
        pass
    except Exception as error:  # noqa: BLE001 - raised again where the bytes are read
        pipe.finish(error)
    else:
        pipe.finish(None)
    finally:
        if isinstance(archive, AsyncGenerator):
            await archive.aclose()


class _Rewriting:
    """The thread and its two pipes; every method but ``_run`` and what it calls belongs to the event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, recipe: Recipe, commit: str, spool_dir: Path, limits: ContextLimits
    ) -> None:
        self.unpacked = Pipe(loop)
        self.packed = Pipe(loop)
        self.planned: asyncio.Future[ContextPlan] = loop.create_future()
        self._ended = asyncio.Event()
        self.failure: BaseException | None = None
        self._loop = loop
        self._recipe, self._commit, self._spool_dir, self._limits = recipe, commit, spool_dir, limits
        self._begun = threading.Event()
        self._builder: Builder | None = None
        self._thread = threading.Thread(target=self._run, name="build-context", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def begin(self, builder: Builder) -> None:
        if self._builder is not None:
            raise RuntimeError("a build context can be sent once")
        self._builder = builder
        self._begun.set()

    def stop(self) -> None:
        self.unpacked.close()
        self.packed.close()
        self._begun.set()

    async def gone(self) -> None:
        """Wait until the thread has ended."""
        await self._ended.wait()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._rewrite()
        except PipeClosed:
            self._fail(None)
        except OSError as error:
            known = error if error is self.unpacked.error else _disk_error(self._spool_dir, error)
            self._fail(known)
        except BaseException as error:  # noqa: BLE001 - it ends the stream, and is raised where the stream is read
            self._fail(error)
        self._tell(self._ended.set)

    def _rewrite(self) -> None:
        with tempfile.SpooledTemporaryFile(SPOOL_IN_MEMORY_BYTES, dir=str(self._spool_dir)) as spool:
            rewriter = ContextRewriter(
                _PipeSource(self.unpacked),
                recipe=self._recipe,
                commit=self._commit,
                spool=cast("IO[bytes]", spool),
                limits=self._limits,
                checkpoint=self.packed.check_open,
            )
            plan = rewriter.plan()
            self._tell(lambda: self._settle(plan))
            self._begun.wait()
            self.packed.check_open()
            assert self._builder is not None
            rewriter.emit(self.packed.put_blocking, self._builder)
            self.packed.finish(None)

    def _fail(self, error: BaseException | None) -> None:
        self.failure = error
        self.packed.finish(error)
        self._tell(lambda: self._settle(error or PipeClosed()))

    def _settle(self, outcome: ContextPlan | BaseException) -> None:
        if self.planned.done():
            return
        if isinstance(outcome, ContextPlan):
            self.planned.set_result(outcome)
        else:
            self.planned.set_exception(outcome)
            self.planned.exception()  # counts as seen, for the caller may have left

    def _tell(self, act: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is gone, and everybody with it
            self._loop.call_soon_threadsafe(act)


class _PipeSource:
    """The thread's end of a pipe as something with ``read``."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        if not self._rest:
            self._rest = memoryview(self._pipe.get_blocking())
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)


def _disk_error(spool_dir: Path, error: OSError) -> DiskUnavailable:
    return DiskUnavailable(
        f"the build's files cannot be kept in {spool_dir}: {error.strerror or error}; make room there"
    )
