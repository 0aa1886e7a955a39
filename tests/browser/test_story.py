"""The main job, done by clicking: a repository is registered, tags become images, products run them and move on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.async_api import expect

from tests.browser.looks import findings_in_both_schemes
from tests.browser.visitor import visiting
from tests.ports import free_port
from tests.waiting import until
from tests.world import FILES, TOKEN

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.browser.visitor import Visitor
    from tests.world import World

ENDLESS: Final = {"Dockerfile": 'FROM busybox\nENV RUN=@RUN@\nRUN echo be""gun; sleep 600\n'}
MASK: Final = "********"
LONG_MS: Final = 90_000
"""How long an engine and a swarm may take for a build or a rollout."""


class Person:
    """Somebody who ships with Tagship's pages, and nothing else."""

    def __init__(self, visitor: Visitor, world: World) -> None:
        self.visitor, self.world, self.page = visitor, world, visitor.page

    async def register(self) -> None:
        await self.visitor.go("/settings")
        await self.page.locator("#repo").fill(self.world.repo)
        await self.visitor.button("Register").click()
        await expect(self.page.get_by_role("alert").filter(has_text="Registered.")).to_be_visible()
        await expect(self.page.get_by_role("heading", name=self.world.repo)).to_be_visible()

    async def open_from_overview(self, tag: str) -> None:
        """Wait for a tag to come by itself where one sees what is in flight, and go to its image."""
        flights = self.page.get_by_role("region", name="In flight")
        await flights.get_by_role("link", name=f"{self.world.image}:{tag}").click()
        await expect(self.page.get_by_role("heading", name=f"{self.world.image}:{tag}", level=1)).to_be_visible()

    async def state_is(self, state: str) -> None:
        """The chip beside the page's heading says so, in time, without anybody loading the page."""
        chip = self.page.locator("#image h1 + .chip, #product h1 + .chip")
        await expect(chip).to_contain_text(state, timeout=LONG_MS)

    async def create_product(self, name: str, tag: str) -> int:
        """Fill in the form for a new product that follows ``^1``; the port on which it answers."""
        port = free_port()
        await self.visitor.go("/products")
        await self.page.get_by_role("link", name="New product").click()
        await self.page.get_by_label("Name", exact=True).fill(name)
        await self.page.get_by_label("Slug").fill(f"{name.lower()}-{self.world.run}")
        await self.page.get_by_label("Image", exact=True).select_option(label=tag)
        await self.page.get_by_label("Follow newer tags").fill("^1")
        await self.page.get_by_label("Port", exact=True).fill(str(port))
        await self.page.get_by_label("Publish").select_option("host")
        await self.set_variable("CUSTOMER", name.lower())
        await self.visitor.button("Create product").click()
        await expect(self.page.get_by_role("heading", name=name, level=1)).to_be_visible()
        return port

    async def set_variable(self, name: str, value: str) -> None:
        """Add a variable to the form."""
        await self.visitor.button("Add a variable").click()
        await self.page.get_by_label("Name of a variable").last.fill(name)
        await self.page.get_by_label("Value of the variable").last.fill(value)

    async def act(self, button: str, *, says: str) -> None:
        """Click a product's button, read what would change, and say yes to it by the words of its button."""
        await self.visitor.button(button).first.click()
        plan = self.page.locator("dialog#plan")
        await expect(plan).to_contain_text(says)
        await plan.get_by_role("button", name=button.removesuffix(" to this"), exact=True).click()

    async def runs(self, tag: str) -> None:
        """The product's page says that it runs the image of a tag, and nothing is under way any more."""
        facts = self.page.locator("#product dl")
        await expect(facts.get_by_role("link", name=f"{self.world.image}:{tag}").first).to_be_visible(timeout=LONG_MS)
        await self.state_is("running")

    async def answers(self, port: int, **wanted: Any) -> None:
        """The product itself answers so."""

        async def look() -> bool:
            return bool(await self.world.page({"port": port}) == wanted)

        await until(look, f"port {port} answers {wanted}")


@pytest.mark.timeout(400)
async def test_a_whole_day_is_done_by_clicking(browser: Browser, world: World) -> None:
    async with visiting(browser, world.url) as visitor:
        await visitor.enter(TOKEN)
        person = Person(visitor, world)
        await person.register()
        await _a_build_is_watched_and_cancelled_and_the_next_one_comes_by_itself(person)
        await world.told_about("built in")

        ports = {}
        for name in ("Allianz", "Axa"):
            ports[name] = await person.create_product(name, f"{world.image}:v1.0.0")
            await person.act("Start", says="v1.0.0")
            await person.runs("v1.0.0")
            await person.answers(ports[name], version="v1.0.0", customer=name.lower())
        await world.told_about("Allianz", "Axa")
        assert not await findings_in_both_schemes(visitor, "story-product")

        await world.release("v1.1.0")  # the page of the second is open, and is not loaded again
        await person.runs("v1.1.0")
        await world.told_together("v1.1.0* built in", "2 of 2 products running", "*Allianz*", "*Axa*")
        for name, port in ports.items():
            await person.answers(port, version="v1.1.0", customer=name.lower())
        await visitor.go("/products")
        await visitor.page.get_by_role("link", name="Allianz", exact=True).click()
        await person.runs("v1.1.0")

        await _the_exact_change_is_shown_before_it_is_made(person)
        await person.answers(ports["Allianz"], version="v1.1.0", customer="allianz-suisse")
        await world.told_about("Allianz")

        await visitor.page.get_by_role("button", name="Roll back").last.click()
        plan = visitor.page.locator("dialog#plan")
        await expect(plan).to_contain_text("v1.0.0")
        await plan.get_by_role("button", name="Roll back", exact=True).click()
        await person.runs("v1.0.0")
        await person.answers(ports["Allianz"], version="v1.0.0", customer="allianz")
        await world.told_about("Allianz")

        await person.act("Stop", says="stop")
        await person.state_is("stopped")
        await world.told_about("*Allianz* is stopped")
        await visitor.button("Delete").click()
        await visitor.confirm("Delete")
        await expect(visitor.page).to_have_url(f"{world.url}/products")
        await expect(visitor.page.get_by_role("link", name="Axa", exact=True)).to_be_visible()
        await expect(visitor.page.get_by_role("link", name="Allianz", exact=True)).to_have_count(0)


async def _a_build_is_watched_and_cancelled_and_the_next_one_comes_by_itself(person: Person) -> None:
    page, world = person.page, person.world
    await person.visitor.go("/")
    await world.release("v1.0.0", ENDLESS)
    await person.open_from_overview("v1.0.0")
    await page.evaluate("() => { window.notReloaded = true; }")
    await person.state_is("building")
    await expect(page.locator("#log-lines")).to_contain_text("begun", timeout=LONG_MS)
    await person.visitor.button("Cancel build").click()
    await person.visitor.confirm("Cancel the build")
    await person.state_is("cancelled")

    await world.github.commit(world.repo, FILES | {"VERSION": "v1.0.0"}, "mended")
    await world.github.tag(world.repo, "v1.0.0", force=True)
    await person.state_is("success")
    await expect(page.locator("#log-lines")).to_contain_text("COPY VERSION serve")
    assert await page.evaluate("() => window.notReloaded"), "all of it was followed by one page"


async def _the_exact_change_is_shown_before_it_is_made(person: Person) -> None:
    page = person.page
    await page.get_by_text("Change", exact=True).click()
    await expect(page.get_by_label("Value of CUSTOMER")).to_have_value(MASK)
    await page.get_by_label("Value of CUSTOMER").fill("allianz-suisse")
    await person.set_variable("LOG_LEVEL", "a-secret-of-ours")
    await person.visitor.button("Show what changes").click()
    plan = page.locator("dialog#plan")
    await expect(plan).to_contain_text("CUSTOMER")
    await expect(plan).to_contain_text(f"{MASK} (changed)")
    await expect(plan).to_contain_text("LOG_LEVEL")
    await expect(plan).not_to_contain_text("allianz-suisse")
    assert not await findings_in_both_schemes(person.visitor, "story-change")
    await plan.get_by_role("button", name="Cancel").click()
    await person.visitor.button("Show what changes").click()
    await plan.get_by_role("button", name="Apply", exact=True).click()
    await expect(page.locator("#history tbody tr")).to_have_count(3)
    await person.state_is("running")
    assert "a-secret-of-ours" not in await page.content()
