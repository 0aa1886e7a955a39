"""A process with many products of one image, and what is to be seen when a tag goes out to all of them."""

from __future__ import annotations

import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from tests.fault.process import Tagship
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.fault.scene import Scene

PATIENCE_S: Final = 240.0
SERVICE: Final = {
    "Dockerfile": """FROM busybox
COPY VERSION /
EXPOSE 8080
CMD ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]
"""
}
ROLLOUTS: Final = """
select o.product_id, o.reason, o.state, o.started_at, o.finished_at, o.attempt, o.build_id from rollouts o
 where o.kind = 'deploy' order by o.id"""
NOTICES: Final = "select subject_id, state from notices where event = 'rollout_done'"


def most_at_once(rollouts: list[Any]) -> int:
    """How many rollouts were under way at the same time, at most."""
    edges = [(one["started_at"], 1) for one in rollouts] + [(one["finished_at"], -1) for one in rollouts]
    under_way = most = 0
    for _, step in sorted(edges):
        under_way += step
        most = max(most, under_way)
    return most


async def all_rolled_out(
    scene: Scene, tagship: Tagship, reason: str, count: int, patience_s: float = PATIENCE_S
) -> tuple[list[Any], float]:
    """Wait until so many rollouts for this reason are final, asking the API meanwhile; they, and the slowest answer's
    seconds.
    """
    slowest = 0.0

    async def look() -> list[Any] | None:
        nonlocal slowest
        began = time.perf_counter()
        await tagship.get("/products")
        slowest = max(slowest, time.perf_counter() - began)
        found = [one for one in await scene.rows(ROLLOUTS) if one["reason"] == reason]
        return found if len(found) == count and all(one["finished_at"] for one in found) else None

    return await until(look, f"{count} rollouts are final", patience_s), slowest


async def told_of(scene: Scene, words: Sequence[str], patience_s: float = PATIENCE_S) -> list[str]:
    """The next messages, as many as it takes until each of these words has been in one; what comes in a burst is
    gathered.
    """
    left, texts = set(words), []
    while left:
        texts.append((await scene.slack.next_message(patience_s)).text)
        left -= {word for word in left if word in texts[-1]}
    return texts


def named(products: list[dict[str, Any]]) -> list[str]:
    """How messages name these products."""
    return [f"*{product['name']}*" for product in products]


async def remove_all(tagship: Tagship, products: list[dict[str, Any]], patience_s: float) -> None:
    """Delete the products as users do, which waits for the swarm where it must."""
    for product in products:
        (await tagship.api.delete(f"/products/{product['id']}")).raise_for_status()

    async def gone() -> bool:
        return not await tagship.get("/products")

    await until(gone, "the products are gone", patience_s)


@asynccontextmanager
async def fleet(
    scene: Scene, count: int, patience_s: float = PATIENCE_S
) -> AsyncIterator[tuple[Tagship, list[dict[str, Any]]]]:
    """A process with so many products of one image that follow newer tags and run; removed again at the end. The
    messages about their start are read.
    """
    environment = scene.environment | {
        "TAGSHIP_LEASE_S": "15",
        "TAGSHIP_ROLLOUT_TIMEOUT_S": "240",
        "TAGSHIP_RECONCILE_INTERVAL_S": "0",
    }
    async with Tagship.start(scene.log, environment, module="tests.fault.probed") as tagship:
        scene.listen(tagship)
        await tagship.post("/repositories", {"repo": scene.repo})
        await scene.release("v1.0.0", SERVICE)
        image = await scene.image_of(tagship, "v1.0.0")
        await tagship.becomes(f"/images/{image['id']}", "build_status", "success")
        made = [await scene.product(tagship, image["id"]) for _ in range(count)]
        try:
            for product in made:
                await tagship.post(f"/products/{product['id']}/start")
            await all_rolled_out(scene, tagship, "start", count, patience_s)
            await told_of(scene, ["built in", *(f"{name} runs" for name in named(made))], patience_s)
            yield tagship, made
        finally:
            await remove_all(tagship, made, patience_s)


async def settled(scene: Scene, count: int) -> list[Any] | None:
    """The notices of what runs when there are so many and all have been sent or given up."""
    found = await scene.rows(NOTICES)
    return found if len(found) == count and all(one["state"] != "pending" for one in found) else None


async def loop_held(tagship: Tagship) -> dict[str, Any]:
    """What the probe has seen so far."""
    seen = len(tagship.events("loop_held"))
    tagship.process.send_signal(signal.SIGUSR1)

    async def shown() -> dict[str, Any] | None:
        events = tagship.events("loop_held")
        return events[-1] if len(events) > seen else None

    return await until(shown, "the probe says what it has seen")
