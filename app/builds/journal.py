"""The build log on its way into PostgreSQL: pieces of text in, rows of at most 64 KiB out, a quarter of a second
later at most.

One journal per attempt and one row per flush, numbered by the lease holder alone, so that readers can follow by
number and never skip a row that commits late. A row whose commit nobody confirmed is sent again exactly as it was,
until somebody does. Secrets are masked before; text that PostgreSQL cannot hold (NUL, lone surrogates) becomes U+FFFD.

Rows are stored by tasks of their own, so that whoever is cancelled while it waits for one does not cut it off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from app.builds import store
from app.engine.frame import storable
from app.errors import AppError, DatabaseUnavailable
from app.log import StreamRedactor
from app.postgres.pool import transaction
from app.queue.stored import until_stored
from app.queue.watch import uncounted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from app.postgres.pool import Pool
    from app.queue.lease import Lease

log = structlog.get_logger(__name__)

FLUSH_S: Final = 0.25
STOPPING_S: Final = 3.0  # of the ten seconds in which the process has to stop
PIECE_CHARACTERS: Final = 64 * 1024
MOST_WAITING_CHARACTERS: Final = 8 * 1024 * 1024
MOST_CHARACTERS: Final = 64 * 1024 * 1024
LAST_CHARACTERS: Final = 64 * 1024


def next_piece(text: str, *, whole: bool) -> str:
    r"""The part of waiting text that makes the next row: whole lines, as many as fit; empty when it must wait for more.

    A row ends in the middle of a line only when the line alone is longer than a row, or when ``whole`` asks for the
    rest.

    >>> next_piece("one\ntw", whole=False), next_piece("tw", whole=False), next_piece("tw", whole=True)
    ('one\n', '', 'tw')
    """
    if whole and len(text) <= PIECE_CHARACTERS:
        return text
    end = text.rfind("\n", 0, PIECE_CHARACTERS) + 1
    return text[: end or PIECE_CHARACTERS] if end or len(text) >= PIECE_CHARACTERS else ""


class Limit:
    """How much of an endless log is kept: its first ``most`` characters, and its last lines, which say how it ended.

    The log itself says where it was cut and how much is missing.
    """

    def __init__(self, most: int) -> None:
        self._most = self._room = most
        self._cut = False
        self._behind = 0
        self._last: deque[str] = deque()
        self._last_characters = 0

    def let_through(self, text: str) -> str:
        """The part of the text that is to be stored now."""
        if len(text) <= self._room and not self._cut:
            self._room -= len(text)
            return text
        kept = text[: self._room]
        self._remember(text[self._room :])
        self._room = 0
        if self._cut:
            return ""
        self._cut = True
        return (
            f"{kept}\n… the log is cut here: one attempt may print {self._most:,} characters; "
            "its last lines follow when it has ended …\n"
        )

    def ending(self) -> str:
        """The last lines of what was not let through; called again, nothing."""
        text = "".join(self._last)[-LAST_CHARACTERS:]
        left_out = self._behind - len(text)
        self._last.clear()
        self._behind = self._last_characters = 0
        if left_out == 0:
            return text
        half, _, lines = text.partition("\n")
        if lines:
            left_out, text = left_out + len(half) + 1, lines
        return f"\n… {left_out:,} characters are missing here; the log ends with: …\n{text}"

    def _remember(self, text: str) -> None:
        self._behind += len(text)
        self._last.append(text[-LAST_CHARACTERS:])
        self._last_characters += len(self._last[-1])
        while self._last_characters - len(self._last[0]) >= LAST_CHARACTERS:
            self._last_characters -= len(self._last.popleft())


class Journal:
    """Takes log text and sees to it that it is stored, in order; use it through ``journal``."""

    def __init__(
        self,
        pool: Pool,
        lease: Lease,
        last_seq: int,
        most_characters: int,
        secrets: Iterable[str],
        *,
        counted: Callable[[str], None] = uncounted,
    ) -> None:
        self._pool, self._lease, self._seq, self._counted = pool, lease, last_seq, counted
        self._redactor = StreamRedactor(secrets)
        self._limit = Limit(most_characters)
        self._waiting: list[str] = []
        self._unsure = ""  # sent as row _seq + 1, and not confirmed
        self._characters = 0  # waiting or unsure
        self._whole = False
        self._round: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def write(self, text: str) -> None:
        """Take log text; waits only while more is waiting than one row holds.

        Raises ``LeaseLost``, whatever else stopped the journal since the last write, and ``DatabaseUnavailable`` when
        far too much is waiting for a database that is away.
        """
        if self._failure is not None:
            raise self._failure
        for start in range(0, len(text), PIECE_CHARACTERS):
            if start:
                await asyncio.sleep(0)  # much text at once takes a while
            self._take(self._limit.let_through(self._redactor.feed(text[start : start + PIECE_CHARACTERS])))
        if self._characters >= PIECE_CHARACTERS:
            try:
                await self.flush()
            except DatabaseUnavailable:
                if self._characters > MOST_WAITING_CHARACTERS:
                    raise

    async def flush(self) -> None:
        """Store every complete line taken so far; who is cancelled meanwhile leaves the row on its way alone."""
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._store_all())
        await asyncio.shield(self._round)

    async def tick(self) -> None:
        """Flush again and again; a database that is away for a moment only delays the log.

        Anything else ends it, and is raised by the next write.
        """
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except DatabaseUnavailable as error:
                log.warning("log_delayed", reason=str(error))
            except Exception as error:  # noqa: BLE001 - the next write raises it
                self._failure = error
                return

    async def close(self) -> None:
        """Store the rest, also a line that has no end, as soon as the database takes it: a build that has ended would
        otherwise be made again. Raises what stopped the journal, if something did.
        """
        self._end()
        try:
            await until_stored(self.flush)
        except asyncio.CancelledError:
            await self.close_in_haste()
            raise
        if self._failure is not None:
            raise self._failure

    async def close_in_haste(self) -> None:
        """Store the rest if that takes no more than a moment: the process is to stop, and another attempt follows."""
        self._end()
        try:
            async with asyncio.timeout(STOPPING_S):
                await self.flush()
        except (TimeoutError, AppError) as error:
            log.warning("log_cut_short", reason=str(error) or "the database did not answer in time")
        except Exception:
            log.exception("journal_crashed")
        finally:
            if self._round is not None:
                self._round.cancel()

    def _end(self) -> None:
        self._whole = True
        self._take(self._limit.let_through(self._redactor.close()))
        self._take(self._limit.ending())

    def _take(self, text: str) -> None:
        self._waiting.append(text)
        self._characters += len(text)

    async def _store_all(self) -> None:
        while True:
            again = bool(self._unsure)
            self._unsure = self._unsure or self._next_piece()
            if not self._unsure:
                return
            await self._store(self._unsure, again=again)
            self._characters -= len(self._unsure)
            self._unsure = ""

    def _next_piece(self) -> str:
        text = "".join(self._waiting)
        piece = next_piece(text, whole=self._whole)
        self._waiting = [text[len(piece) :]]
        return storable(piece)

    async def _store(self, piece: str, *, again: bool) -> None:
        try:
            async with transaction(self._pool) as conn:
                held = await store.append_log(conn, self._lease, self._seq + 1, piece)
        except asyncpg.UniqueViolationError:
            if not again:
                raise
            held = True  # the earlier try was committed although its answer got lost
        if not held:
            raise self._lease.lost()
        self._seq += 1
        self._counted(piece)


@asynccontextmanager
async def journal(
    pool: Pool,
    lease: Lease,
    last_seq: int,
    *,
    most_characters: int = MOST_CHARACTERS,
    secrets: Iterable[str] = (),
    counted: Callable[[str], None] = uncounted,
) -> AsyncIterator[Journal]:
    """A journal that flushes by itself; on leaving, everything has been stored, except when the caller was cancelled
    and the database did not take the rest within three seconds.

    What stops the journal while the caller is busy elsewhere, such as a lost lease, shows at its next write. Of more
    than ``most_characters`` only the last lines are kept, and the log says so. ``secrets``, and whatever looks like
    one, are masked, wherever the text was cut. ``counted`` is called with each row that was stored.
    """
    kept = Journal(pool, lease, last_seq, most_characters, secrets, counted=counted)
    ticker = asyncio.create_task(kept.tick())
    try:
        yield kept
    except asyncio.CancelledError:
        await kept.close_in_haste()
        raise
    except Exception:
        await kept.close()
        raise
    else:
        await kept.close()
    finally:
        ticker.cancel()
