"""The pages /products, what is wrong first, and /products/new."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from app.access.model import Role
from app.api.services import services_of
from app.builds.model import web_url
from app.dashboard.asking import asked_choice, asked_id, asked_text, query_of
from app.dashboard.shell import page, render
from app.engine.shape import PublishMode
from app.postgres.pool import transaction
from app.postgres.queries import load_queries
from app.products.model import ProductStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from starlette.requests import Request
    from starlette.responses import Response

    from app.engine.shape import Healthcheck
    from app.postgres.pool import Connection
    from app.products.model import ProductFields

SQL: Final = load_queries("products_page")

PAGE: Final = 50
MOST_NAMES: Final = 500
MOST_IMAGES: Final = 300
UNDONE: Final = frozenset({"failed", "rolled_back"})


@dataclass(frozen=True, slots=True)
class Filter:
    """Which products: in that state, pinned to an image of that name, with that text in name or slug."""

    status: ProductStatus | None
    image: str | None
    text: str | None

    @classmethod
    def of(cls, request: Request) -> Filter:
        """What the page was asked for."""
        return cls(
            asked_choice(request, "status", ProductStatus), asked_text(request, "image"), asked_text(request, "text")
        )


@dataclass(frozen=True, slots=True)
class ProductRow:
    """One product of the list: what it is pinned to, what it ``runs`` since when, and how its newest rollout went."""

    id: int
    slug: str
    name: str
    status: str
    wanted: bool
    port: int
    publish_mode: str
    replicas: int
    track: str | None
    image_id: int | None
    held_build_id: int | None
    pinned: str | None
    live_image_id: int | None
    runs: str | None
    live_image: str | None
    commit_sha: str | None
    since: datetime | None
    rollout_id: int | None
    rollout_kind: str | None
    rollout_state: str | None
    progress: str | None
    error: str | None
    rollout_at: datetime | None
    rollout_image: str | None

    @property
    def kept(self) -> bool:
        """Whether the last change failed, and what ran before runs on."""
        return self.rollout_state in UNDONE and self.status == ProductStatus.RUNNING


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the products, and the ids behind which the pages after and before it begin."""

    products: list[ProductRow]
    after: int | None
    before: int | None


async def read_page(conn: Connection, wanted: Filter, *, after: int | None, before: int | None) -> Page:
    """The page behind ``after``, or the one that ends before ``before``, or the first."""
    backwards = before is not None
    mark = before if backwards else after
    rows = await conn.fetch(SQL.products_ranked, wanted.status, wanted.image, wanted.text, mark, backwards, PAGE + 1)
    ids = [row["id"] for row in rows]
    more, ids = len(ids) > PAGE, ids[:PAGE]
    if backwards:
        ids.reverse()
    listed = [ProductRow(**row) for row in await conn.fetch(SQL.products_listed, ids)]
    return Page(
        listed,
        after=ids[-1] if ids and (more or backwards) else None,
        before=ids[0] if ids and (more if backwards else after is not None) else None,
    )


async def show_list(request: Request) -> Response:
    """The page of all. What somebody changed by hand is loaded by itself: the engine may be slow, or away."""
    wanted, services = Filter.of(request), services_of(request)
    async with transaction(services.pool) as conn:
        shown = await read_page(conn, wanted, after=asked_id(request, "after"), before=asked_id(request, "before"))
        counts = {row["status"]: row["products"] for row in await conn.fetch(SQL.products_by_status)}
        names = [row["name"] for row in await conn.fetch(SQL.image_names, MOST_NAMES)]
    fields = asdict(wanted)
    return render(
        request,
        "products.html",
        title="Products",
        page=shown,
        wanted=wanted,
        filtered=any(fields.values()),
        states=list(ProductStatus),
        counts=[(state, counts[state], query_of({"status": state})) for state in STATES_FIRST if counts.get(state)],
        in_all=sum(counts.values()),
        names=names,
        next=query_of(fields, after=shown.after),
        previous=query_of(fields, before=shown.before),
        web=web_url(services.settings.github_api_url),
        default_image=services.settings.tagship_default_image,
    )


STATES_FIRST: Final = (
    ProductStatus.FAILED,
    ProductStatus.DEPLOYING,
    ProductStatus.DELETING,
    ProductStatus.AWAITING_IMAGE,
    ProductStatus.RUNNING,
    ProductStatus.STOPPED,
)


# -------------------------------------------------------------------- the form of a product's fields


@dataclass(frozen=True, slots=True)
class Choice:
    """An image that a product can be pinned to."""

    id: int
    label: str
    built: bool


@dataclass(frozen=True, slots=True)
class Form:
    """What the fields of a product's form hold; of its variables the names only."""

    name: str = ""
    port: int | None = None
    container_port: int | None = None
    publish_mode: PublishMode = PublishMode.INGRESS
    replicas: int = 1
    image_id: int | None = None
    track: str | None = None
    env: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None

    @classmethod
    def of(cls, fields: ProductFields) -> Form:
        """The form of a product that there is."""
        own = {name: getattr(fields, name) for name in cls.__slots__ if name != "env"}
        return cls(**own, env=tuple(sorted(fields.env)))


async def image_choices(conn: Connection, chosen: tuple[int, str] | None = None) -> dict[str, list[Choice]]:
    """Images to choose from, by their names, newest first; the one that is ``chosen`` now is always among them."""
    rows = await conn.fetch(SQL.images_to_run, MOST_IMAGES)
    choices: dict[str, list[Choice]] = {}
    for row in rows:
        choices.setdefault(row["name"], []).append(Choice(row["id"], f"{row['name']}:{row['tag']}", row["built"]))
    if chosen is not None and all(chosen[0] != row["id"] for row in rows):
        choices.setdefault(chosen[1].rpartition(":")[0], []).append(Choice(*chosen, built=False))
    return choices


def form_values(form: Form, choices: Mapping[str, list[Choice]], default_image: str) -> dict[str, Any]:
    """What the template ``product_fields.html`` needs."""
    return {"form": form, "choices": choices, "modes": list(PublishMode), "default_image": default_image}


async def show_new(request: Request) -> Response:
    """The page where a product is made; ``?image=`` is the id of the image that is chosen at first."""
    services = services_of(request)
    async with transaction(services.pool) as conn:
        choices = await image_choices(conn)
    values = form_values(Form(image_id=asked_id(request, "image")), choices, services.settings.tagship_default_image)
    return render(request, "product_new.html", title="New product", **values)


NEW_PAGE: Final = page("/products/new", show_new, role=Role.DEPLOY)
