"""``python -m ops.tryout --run FOLDER``: the try-out of ``ops/try``, on an engine that ``ops/setup`` made ready.

Exit status: 0 when the proof succeeded, 1 when it failed (with the reason), 130 when it was interrupted before.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from app.rollouts.model import SERVICE_PREFIX
from ops.tryout.engine import has_ipvs, require_free
from ops.tryout.ledger import Ledger
from ops.tryout.processes import StoryFailed, free_port, is_free
from ops.tryout.sample import SampleRepository
from ops.tryout.screen import Screen
from ops.tryout.stage import CHECKOUT, Stage
from ops.tryout.story import IMAGE, REPO, Customer, Story, customers

if TYPE_CHECKING:
    from types import FrameType

    from ops.tryout.tagship import TagshipClient

TAGSHIP_PORT: Final = 8004
INTERRUPTED: Final = 130
SAMPLE: Final = CHECKOUT / "ops/sample"


def main() -> int:
    """Tell the story, stay up if wanted, and remove everything that was made for it."""
    given = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    screen, ledger = Screen(), Ledger(given.run / "ledger")
    already = len(ledger.entries())
    stage = Stage(screen, ledger, _folder(given.run), TAGSHIP_PORT if is_free(TAGSHIP_PORT) else free_port())
    status = INTERRUPTED
    try:
        people = customers(tuple(given.ports))
        tagship = _play(screen, ledger, stage, people)
        status = 0
        if not given.once:
            _stay(screen, stage, tagship, people)
    except KeyboardInterrupt:
        screen.plain()
    except StoryFailed as error:
        status = 1
        screen.failed(str(error))
        if tail := stage.tail():
            screen.plain(f"\nThe end of Tagship's log:\n{tail}")
    return _remove(screen, ledger, already) or status


def _play(screen: Screen, ledger: Ledger, stage: Stage, people: tuple[Customer, ...]) -> TagshipClient:
    """The whole story, told. Raises ``StoryFailed``."""
    screen.heading("The stage")
    for port in (person.port for person in people):
        if not is_free(port):
            raise StoryFailed(f"port {port} is taken by another program: stop it, or choose others with --ports A B")
    services = [f"{SERVICE_PREFIX}{person.slug}" for person in people]
    require_free(services, IMAGE)
    mode = _publish_mode(screen)
    # Written down before any of it exists: a run that is killed now is cleaned up after by the next one.
    ledger.record("images", IMAGE)
    for name in services:
        ledger.record("service", name)
    tagship = stage.build(REPO, SAMPLE)
    sample = SampleRepository(stage.folder / "bre-payments", stage.git_url)
    Story(screen, stage, tagship, sample, mode).tell(people)
    return tagship


def _publish_mode(screen: Screen) -> str:
    if has_ipvs():
        return "ingress"
    screen.did("this kernel has no IPVS, which swarm needs for ingress ports: products publish theirs in host mode")
    return "host"


def _stay(screen: Screen, stage: Stage, tagship: TagshipClient, people: tuple[Customer, ...]) -> None:
    """Everything stays up until an interrupt, and what happens is shown."""
    screen.heading("Look for yourself")
    for person in people:
        screen.plain(f"  {person.name:<12} {person.url}")
    for path in filter(tagship.has_page, ("/", "/docs")):
        screen.plain(f"  Tagship      {stage.tagship_url}{path}")
    screen.plain(f"  sign in      with the token {stage.api_token}")
    screen.plain(
        f"  its API      curl -H 'Authorization: Bearer {stage.api_token}' {stage.tagship_url}/api/v1/products"
    )
    screen.plain(f"  ship more    cd {stage.folder}/bre-payments && git commit --allow-empty -m more && \\")
    screen.plain("               git tag v1.2.0 && git push origin v1.2.0")
    screen.plain("  end          Ctrl-C")
    while True:
        stage.watch()
        time.sleep(0.3)


def _remove(screen: Screen, ledger: Ledger, since: int) -> int:
    """1 when something of what this run made could not be removed, else 0."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    screen.heading("Removing what was made")
    began = time.monotonic()
    problems = ledger.undo(since)
    for sentence in problems:
        screen.failed(sentence)
    if not problems:
        screen.did("services, images and processes are gone", began)
    return int(bool(problems))


def _folder(run: Path) -> Path:
    folder = run / "tryout"
    folder.mkdir(mode=0o711)  # PostgreSQL drops to another account and has to pass
    return folder


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ops/try", description="Tagship at work on this machine, from git push to two products."
    )
    parser.add_argument("--once", action="store_true", help="end after the proof instead of staying up")
    parser.add_argument(
        "--ports", type=int, nargs=2, default=[8001, 8002], metavar=("A", "B"), help="the products' ports"
    )
    parser.add_argument("--run", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
