"""GitHub's own webhook examples (npm ``@octokit/webhooks-examples``, MIT): too large to commit, so fetched once.

``python -m tests.fakes.octokit`` fetches them into ``.cache/octokit`` of the checkout.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = "@octokit/webhooks-examples@7.6.1"
SHA512: Final = "De6U3XB6O3DtCa7bKgCMzTHdeopqqZ6SNivMYJnK65ierKL1AnNIA0tkRYCRS7lwGT792d+Ps1WbfHlso6MynQ=="
PLACE: Final = Path(__file__).resolve().parents[2] / ".cache" / "octokit"


class NotFetched(Exception):
    """The examples are not on this machine, or are not those we know."""


def examples(place: Path = PLACE) -> list[tuple[str, str, dict[str, Any]]]:
    """Every example as ``(source, event, payload)``; source is ``api.github.com`` or a version such as ``ghes-35``."""
    indexes = sorted(place.glob("*/index.json"))
    if not indexes:
        raise NotFetched("GitHub's webhook examples are missing; run: python -m tests.fakes.octokit")
    return [
        (index.parent.name, entry["name"], payload)
        for index in indexes
        for entry in json.loads(index.read_text())
        for payload in entry["examples"]
    ]


def fetch_octokit_examples(dest: Path = PLACE) -> None:
    """Put the pinned package's examples under ``dest``, unless they are there; ``NotFetched`` for any other package."""
    if (dest / PACKAGE.rpartition("@")[2]).exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        archive = next(Path(folder).glob("*.tgz"))
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
            raise NotFetched(f"{PACKAGE} is not the package we know; its SHA-512 differs")
        with tarfile.open(archive) as tar:
            for member in tar:
                _, *parts = Path(member.name).parts
                if len(parts) == 2 and parts[1] == "index.json" and (content := tar.extractfile(member)):
                    target = dest.joinpath(*parts)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content.read())
    (dest / PACKAGE.rpartition("@")[2]).touch()


if __name__ == "__main__":
    fetch_octokit_examples()
    print(f"{len(examples())} webhook examples in {PLACE}")
