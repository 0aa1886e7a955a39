"""Deque's axe-core, which finds what keeps people with disabilities from using a page: fetched once, as it is not ours.

``python -m tests.browser.axe`` fetches it into ``.cache/axe`` of the checkout.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playwright.async_api import Page

PACKAGE: Final = "axe-core@4.14.1"
SHA512: Final = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
FILE: Final = "package/axe.min.js"
PLACE: Final = Path(__file__).resolve().parents[2] / ".cache" / "axe" / f"{PACKAGE.rpartition('@')[2]}.js"

GRAVE: Final = {"serious", "critical"}
COLOURS: Final = ("color-contrast", "link-in-text-block")
"""The rules whose findings depend on whether a page is light or dark."""

RUN: Final = """async (rules) => {
  const { violations } = await axe.run(document, {
    resultTypes: ["violations"], ...(rules && { runOnly: { type: "rule", values: rules } }),
  });
  return violations.map(({ id, impact, help, nodes }) => ({
    id, impact, help, where: nodes.map(({ target, failureSummary }) => `${target.join(" ")}: ${failureSummary}`),
  }));
}"""


class NotFetched(Exception):
    """axe-core is not on this machine, or is not the one we know."""


@cache
def source() -> str:
    """The script that makes ``axe`` known in a page."""
    if not PLACE.exists():
        raise NotFetched("axe-core is missing; run: python -m tests.browser.axe")
    return PLACE.read_text()


async def grave_findings(page: Page, rules: tuple[str, ...] = ()) -> list[str]:
    """What is serious or critical of what axe finds on a page as it is now, a sentence each; by all rules unless some
    are named.
    """
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(source())
    found: list[dict[str, Any]] = await page.evaluate(RUN, list(rules) or None)
    return [f"{one['impact']}: {one['help']} ({one['id']}): {one['where']}" for one in found if one["impact"] in GRAVE]


def fetch_axe(dest: Path = PLACE) -> None:
    """Put the pinned package's script at ``dest``, unless it is there; ``NotFetched`` for any other package."""
    if dest.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        archive = next(Path(folder).glob("*.tgz"))
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
            raise NotFetched(f"{PACKAGE} is not the package we know; its SHA-512 differs")
        with tarfile.open(archive) as tar:
            script = tar.extractfile(FILE)
            assert script is not None
            dest.parent.mkdir(parents=True, exist_ok=True)
            part = dest.with_suffix(".part")
            part.write_bytes(script.read())
    part.rename(dest)


if __name__ == "__main__":
    fetch_axe()
    print(f"{PACKAGE} in {PLACE}")
