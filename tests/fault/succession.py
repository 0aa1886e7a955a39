"""One Tagship after the other on one scene: each is made to stop itself in some state, ended there, and followed by the
next, which has to go on.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from tests.fault.ending import BUILDS

if TYPE_CHECKING:
    from types import TracebackType

    from tests.fault.process import Tagship
    from tests.fault.scene import Scene


class Succession:
    """``now`` is the process that runs; ``product`` runs and follows newer tags."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._process = AsyncExitStack()
        self._now: Tagship | None = None
        self._tags = 0
        self._product: dict[str, Any] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._process.aclose()

    @property
    def now(self) -> Tagship:
        assert self._now is not None, "no process has been started"
        return self._now

    @property
    def product(self) -> dict[str, Any]:
        assert self._product is not None, "nothing runs yet"
        return self._product

    async def begin(self) -> None:
        """See to it that a process runs, and the product on some version."""
        if self._now is None or self._now.process.returncode is not None:
            await self.follow()
        if self._product is None:
            [self._product] = await self.scene.prepare(self.now)
        await self.scene.read_everything()

    async def follow(self) -> Tagship:
        """Start the next process, after the one before has ended."""
        await self._process.aclose()
        checkpoint = self.scene.folder / "checkpoint"
        checkpoint.unlink(missing_ok=True)
        self._now = await self._process.enter_async_context(self.scene.tagship(stop_at=f"@{checkpoint}"))
        self.scene.listen(self._now)
        return self._now

    async def broken_at(self, event: str, files: dict[str, str] | None = None) -> str:
        """Push a new tag, and let the process stop itself when it logs the event; the tag."""
        await self.begin()
        (self.scene.folder / "checkpoint").write_text(event)
        tag = await self.next_tag(files)
        await self.now.paused()
        return tag

    async def next_tag(self, files: dict[str, str] | None = None) -> str:
        """Push a tag that is newer than all before."""
        self._tags += 1
        tag = f"v1.{self._tags}.0"
        await self.scene.release(tag, files)
        return tag

    async def running_tag(self) -> str:
        """The tag that the product runs."""
        await self.begin()
        shown = await self.now.get(f"/products/{self.product['id']}")
        return str(shown["live"]["image_name"]).rpartition(":")[2]

    async def log_of(self, tag: str) -> list[str]:
        """What the build log of a tag holds now, row by row."""
        rows = await self.scene.rows(
            "select l.data from build_log l join builds b on b.id = l.build_id"
            " join docker_images i on i.id = b.image_id where i.name = $1 and i.tag = $2 order by l.seq",
            self.scene.image,
            tag,
        )
        return [row["data"] for row in rows]

    async def log_before_next_attempt(self, tag: str) -> list[str]:
        """The same, of a build that waits for another attempt; nothing of one that was brought to its end."""
        [build] = await self.scene.rows(BUILDS, self.scene.image, tag)
        return await self.log_of(tag) if build["state"] == "pending" else []
