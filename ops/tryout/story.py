"""The try-out itself: a repository, two customers, two pushed tags, and the proof that both run the second one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx

from ops.tryout.processes import StoryFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ops.tryout.sample import SampleRepository
    from ops.tryout.screen import Screen
    from ops.tryout.stage import Stage
    from ops.tryout.tagship import TagshipClient

REPO: Final = "acme/bre-payments"
IMAGE: Final = "bre-payments"
TURN_S: Final = 0.15
PATIENCE_S: Final = 90.0
NOTICES: Final = 4  # the first build, two starts by hand, the second build with both its rollouts
UNFINISHED: Final = {"pending", "applying", "converging"}


@dataclass(frozen=True, slots=True, eq=False)
class Customer:
    """A customer and the one copy of the product that runs for it."""

    slug: str
    name: str
    port: int
    env: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def customers(ports: tuple[int, int]) -> tuple[Customer, Customer]:
    """The two of the story, on ``ports``."""
    return (
        Customer("allianz", "Allianz", ports[0], {"CUSTOMER": "Allianz", "CURRENCY": "EUR"}),
        Customer("axa", "AXA", ports[1], {"CUSTOMER": "AXA", "CURRENCY": "CHF"}),
    )


class Story:
    """Tells it once. Everything raises ``StoryFailed`` with the reason when it does not come true in time."""

    def __init__(
        self, screen: Screen, stage: Stage, tagship: TagshipClient, sample: SampleRepository, publish_mode: str
    ) -> None:
        self._screen, self._stage, self._tagship, self._sample = screen, stage, tagship, sample
        self._publish_mode = publish_mode
        self._shown: dict[tuple[str, int], str] = {}

    def tell(self, people: tuple[Customer, ...]) -> None:
        self._screen.heading("A repository is registered")
        registered = self._tagship.post("/api/v1/repositories", {"repo": REPO})
        self._screen.did(f"{REPO} builds the image {registered['image_name']} from every tag")

        self._screen.heading("git push origin v1.0.0")
        image = self._release("v1.0.0")

        self._screen.heading("Two customers, one image")
        products = {person: self._create(person, image["id"]) for person in people}
        self._start(products)
        self._prove(people, "1.0.0")

        self._screen.heading("git push origin v1.1.0")
        began = time.monotonic()
        self._sample.change_version("1.1.0")
        self._release("v1.1.0")
        follows = {person: partial(self._rolled_out, product["id"], "v1.1.0") for person, product in products.items()}
        self._all_done(follows, "runs v1.1.0, every replica that exact image", began)
        self._prove(people, "1.1.0")
        self._screen.proved("from git push to both customers", began)
        self._settle_notices()

    def _release(self, tag: str) -> Any:
        """The tag is pushed and its image built; returns the image."""
        began = time.monotonic()
        commit = self._sample.push_tag(tag)
        self._screen.did(f"pushed {tag}, commit {commit[:12]}", began)
        self._until(f"Tagship hears of {tag}", lambda: self._image(tag))
        image = self._until(f"{tag} is built", lambda: self._built(tag))
        if image["commit_sha"] != commit:
            raise StoryFailed(f"{tag} was built from {image['commit_sha']}, pushed was {commit}")
        exact = short(image["digest"] or image["image_ref"])
        self._screen.proved(f"built {image['name']}:{image['tag']} from that commit, {exact}", began)
        return image

    def _image(self, tag: str) -> Any:
        images = self._tagship.get("/api/v1/images", name=IMAGE)
        return next((image for image in images if image["tag"] == tag), None)

    def _built(self, tag: str) -> Any:
        image = self._image(tag)
        self._changed(("image", image["id"]), image["build_status"], f"build: {image['build_status']}")
        if image["build_status"] in {"failed", "cancelled"}:
            log = self._tagship.get(f"/api/v1/images/{image['id']}")["build_log"]
            raise StoryFailed(f"the build of {tag} {image['build_status']}: {image['build_error']}\n{log[-2000:]}")
        return image if image["build_status"] == "success" else None

    def _create(self, person: Customer, image_id: int) -> Any:
        product = self._tagship.post(
            "/api/v1/products",
            {
                "name": person.name,
                "slug": person.slug,
                "port": person.port,
                "image_id": image_id,
                "track": "^1",
                "env_vars": person.env,
                "publish_mode": self._publish_mode,
            },
        )
        settings = " ".join(f"{name}={value}" for name, value in person.env.items())
        self._screen.did(f"product {person.slug}: {product['image_name']}, port {person.port}, follows ^1, {settings}")
        return product

    def _start(self, products: dict[Customer, Any]) -> None:
        began = time.monotonic()
        rollouts = {
            person: self._tagship.post(f"/api/v1/products/{product['id']}/start")["id"]
            for person, product in products.items()
        }
        self._all_done({person: partial(self._finished, one) for person, one in rollouts.items()}, "is started", began)

    def _all_done(self, rollouts: Mapping[Customer, Callable[[], Any]], said: str, began: float) -> None:
        """Every rollout is done; each is looked at until it is final, and what changes meanwhile is shown."""
        waiting = dict(rollouts)

        def look() -> bool:
            for person, find in rollouts.items():
                if person in waiting and (rollout := find()):
                    _require_done(person, rollout)
                    self._screen.proved(f"{person.slug} {said}", began)
                    del waiting[person]
            return not waiting

        self._until(f"every product {said}", look)

    def _finished(self, rollout_id: int) -> Any:
        rollout = self._tagship.get(f"/api/v1/rollouts/{rollout_id}")
        self._show_rollout(rollout)
        return None if rollout["state"] in UNFINISHED else rollout

    def _rolled_out(self, product_id: int, tag: str) -> Any:
        rollouts = self._tagship.get(f"/api/v1/products/{product_id}/rollouts")
        wanted = [rollout for rollout in rollouts if rollout["image_name"] == f"{IMAGE}:{tag}"]
        if not wanted:
            return None
        rollout = max(wanted, key=lambda one: one["id"])
        self._show_rollout(rollout)
        return None if rollout["state"] in UNFINISHED else rollout

    def _show_rollout(self, rollout: Any) -> None:
        self._changed(("rollout", rollout["id"]), rollout["state"], f"{rollout['product']}: {rollout['state']}")

    def _prove(self, people: tuple[Customer, ...], version: str) -> None:
        for person in people:
            began = time.monotonic()
            about = self._until(f"{person.url} answers with {version}", partial(self._about, person, version))
            expected = {"version": version, "customer": person.env["CUSTOMER"], "currency": person.env["CURRENCY"]}
            if {name: about.get(name) for name in expected} != expected:
                raise StoryFailed(f"{person.url} answers {about}, expected was {expected}")
            self._screen.proved(
                f"GET {person.url} says {about['customer']}, {about['version']}, {about['currency']}", began
            )

    @staticmethod
    def _about(person: Customer, version: str) -> Any:
        try:
            answer = httpx.get(f"{person.url}about.json", timeout=2)
            about = answer.json() if answer.is_success else {}
        except (httpx.TransportError, ValueError):
            return None
        return about if about.get("version") == version else None

    def _settle_notices(self) -> None:
        """Slack has heard of both builds and of everything that runs because of them."""
        began = time.monotonic()
        self._until("Slack hears of everything", lambda: self._stage.slack_messages >= NOTICES)
        self._screen.proved(f"Slack received {self._stage.slack_messages} messages", began)

    def _changed(self, what: tuple[str, int], state: str, text: str) -> None:
        """Say ``text`` once for each state of a thing."""
        if self._shown.get(what) != state:
            self._shown[what] = state
            self._screen.did(text)

    def _until(self, what: str, look: Callable[[], Any]) -> Any:
        """What ``look`` finds when it finds something; meanwhile the stage is watched."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._stage.watch()
            if found := look():
                return found
            if time.monotonic() > deadline:
                raise StoryFailed(f"waited {PATIENCE_S:.0f} s in vain for this: {what}")
            time.sleep(TURN_S)


def short(reference: str) -> str:
    """The first digits of an image ID or digest, as Docker shows them."""
    return reference.rpartition(":")[2][:12]


def _require_done(person: Customer, rollout: Any) -> None:
    if rollout["state"] != "done":
        errors = "; ".join(f"{task['state']}: {task['error']} {task['output']}" for task in rollout["task_errors"])
        why = rollout["error"] or rollout["progress"]
        raise StoryFailed(f"{person.slug}: rollout {rollout['id']} is {rollout['state']}: {why} {errors}")
