"""The page /products/{id}: what one product runs, what a change of it would do, and every earlier state of it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from app.api.asking import found, path_id
from app.api.services import services_of
from app.builds import store as builds
from app.builds.model import web_url
from app.dashboard.asking import asked_id, query_of
from app.dashboard.products import Form, form_values, image_choices
from app.dashboard.shell import render
from app.dashboard.wording import plural
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from app.products import store
from app.products.model import ProductStatus
from app.rollouts import store as rollouts
from app.rollouts.model import SERVICE_PREFIX, RolloutKind, RolloutReason, RolloutState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from starlette.requests import Request
    from starlette.responses import Response

    from app.builds.model import Image
    from app.postgres.pool import Connection
    from app.products.model import Product, ProductFields
    from app.rollouts.model import Rollout

SQL: Final = load_queries("products_page")

PAGE: Final = 25
MARK: Final = 16
FAILURES: Final = frozenset({RolloutState.FAILED, RolloutState.ROLLED_BACK})
DONE: Final = {
    RolloutReason.CHANGED: "changed",
    RolloutReason.START: "started",
    RolloutReason.STOP: "stopped",
    RolloutReason.REDEPLOY: "redeployed",
    RolloutReason.ROLLBACK: "rolled back",
    RolloutReason.DELETE: "deleted",
}


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One rollout. ``actor`` asked for it ``via`` a door of the audit log, ``pushed_by`` brought its build; ``waited``
    and ``seconds`` are how long it waited for a worker and how long it took; ``removed``: nothing may run it any more.
    """

    id: int
    kind: RolloutKind
    reason: RolloutReason
    state: RolloutState
    image: str
    image_id: int | None
    image_name: str | None
    build_id: int | None
    commit_sha: str | None
    replicas: int
    port: int
    progress: str | None
    error: str | None
    task_errors: Sequence[Mapping[str, Any]]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    waited: float | None
    removed: bool
    delivery_id: int | None
    actor: str | None
    via: str | None
    pushed_by: str | None

    @property
    def brings_back(self) -> bool:
        """Whether one can go back to it."""
        return self.kind is RolloutKind.DEPLOY and self.state is RolloutState.DONE and not self.removed


@dataclass(frozen=True, slots=True)
class Shown:
    """All that the page shows. ``newest`` is the rollout that speaks for the product's state; ``live`` describes what
    runs; ``image`` is the one it is pinned to.
    """

    product: Product
    image: Image | None
    live: Rollout | None
    newest: Rollout | None
    history: list[HistoryRow]
    older: int | None

    @property
    def under_way(self) -> Rollout | None:
        return self.newest if self.newest is not None and not self.newest.state.final else None

    @property
    def failure(self) -> Rollout | None:
        """The newest rollout if it failed."""
        return self.newest if self.newest is not None and self.newest.state in FAILURES else None

    @property
    def can_start(self) -> bool:
        return not self.product.wanted and self.product.status is not ProductStatus.DELETING

    @property
    def can_stop(self) -> bool:
        return self.product.wanted and self.product.status is not ProductStatus.DELETING

    @property
    def pin_runs(self) -> bool:
        """Whether what runs is the newest that the pin has."""
        if self.live is None:
            return True
        return self.live.build_id == (self.product.fields.held_build_id or self.product.live_build_id)


async def show(request: Request) -> Response:
    """The page of one. Tasks, logs and drift are the engine's to tell, and loaded by themselves (static/product.js)."""
    product_id, services = path_id(request, "product"), services_of(request)
    async with transaction(services.pool) as conn:
        shown = await _read(conn, product_id, asked_id(request, "before"))
        product = shown.product
        pin = product.fields.image_id
        choices = await image_choices(conn, (pin, product.image_name) if pin and product.image_name else None)
    return render(
        request,
        "product.html",
        title=product.fields.name,
        shown=shown,
        product=product,
        fields=product.fields,
        service=SERVICE_PREFIX + product.slug,
        mark=mark_of(product.fields),
        first=asked_id(request, "before") is None,
        older=query_of({"before": shown.older}),
        web=web_url(services.settings.github_api_url),
        why=why,
        what_deleting_does=what_deleting_does(product),
        **form_values(Form.of(product.fields), choices, services.settings.tagship_default_image),
    )


async def _read(conn: Connection, product_id: int, before: int | None) -> Shown:
    product = found(await store.read(conn, product_id), "product", product_id)
    rows = await conn.fetch(SQL.history, product_id, before, PAGE + 1)
    newest = await rollouts.of_product(conn, product_id, before=None, limit=1)
    history = [_history_row(dict(row)) for row in rows]
    pin = product.fields.image_id
    return Shown(
        product=product,
        image=await builds.read_image(conn, pin) if pin is not None else None,
        live=await rollouts.read(conn, product.live.rollout_id) if product.live else None,
        newest=newest[0] if newest else None,
        history=history[:PAGE],
        older=history[PAGE - 1].id if len(history) > PAGE else None,
    )


def _history_row(row: dict[str, Any]) -> HistoryRow:
    kinds = {
        "kind": RolloutKind(row["kind"]),
        "reason": RolloutReason(row["reason"]),
        "state": RolloutState(row["state"]),
    }
    return HistoryRow(**row | kinds)


def why(row: HistoryRow) -> str:
    """Why a rollout happened, and who is behind it."""
    what = {
        RolloutReason.IMAGE_BUILT: f"{row.image_name or 'its image'} was built",
        RolloutReason.PIN_MOVED: f"its rule moved it to {row.image_name or 'another image'}",
    }.get(row.reason)
    if what is not None:
        return f"{what}, pushed by {row.pushed_by}" if row.pushed_by else what
    return f"{DONE[row.reason]} by {row.actor}" if row.actor else DONE[row.reason]


def what_deleting_does(product: Product) -> str:
    """What one is asked before a product goes."""
    runs = product.live or product.status in {ProductStatus.DEPLOYING, ProductStatus.FAILED}
    stops = f"{plural(product.fields.replicas, 'task')} of {product.fields.name} stop, then its" if runs else "Its"
    return (
        f"{stops} service, settings, variables and history go for good. The port {product.fields.port} and the slug"
        f" {product.slug} are free then. The image stays."
    )


def mark_of(fields: ProductFields) -> str:
    """Another one for other fields: tells whether a form is older than its product. It gives no value away, since the
    variables in it are sealed.
    """
    return sha256(repr(fields).encode()).hexdigest()[:MARK]
