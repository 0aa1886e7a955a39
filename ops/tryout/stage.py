"""What stands around the story: a local GitHub and Slack, and Tagship started exactly as its users start it."""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ops.tryout.processes import Program, StoryFailed, start
from ops.tryout.tagship import TagshipClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.tryout.ledger import Ledger
    from ops.tryout.screen import Screen

Found = TypeVar("Found")

CHECKOUT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 60.0
OURS: Final = ("TAGSHIP_", "GITHUB_", "SLACK_", "REGISTRY", "DATABASE_URL")
DELIVERED: Final = re.compile(r"webhook (\S+) (refs/tags/\S+) \S+: (.*)")
SLACK_LINK: Final = re.compile(r"<[^<>|]+\|([^<>]+)>")


class Stage:
    """The three programs, their addresses and the secrets that they share."""

    def __init__(self, screen: Screen, ledger: Ledger, folder: Path, port: int) -> None:
        self._screen, self._ledger, self.folder = screen, ledger, folder
        self.tagship_url = f"http://127.0.0.1:{port}"
        self.api_token = secrets.token_urlsafe(24)
        self.git_url = ""
        self.slack_messages = 0
        self._port = port
        self._webhook_secret, self._github_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._programs: dict[str, Program] = {}
        self._unread_slack = ""

    def build(self, repo: str, files: Path) -> TagshipClient:
        """All three run and Tagship is ready. Raises ``StoryFailed``."""
        began = time.monotonic()
        self._start("Slack", [sys.executable, "-m", "tests.fakes.slack"], _plain_environment())
        self._start_github(repo, files)
        slack = self._until("the local Slack is ready", lambda: self._ready("Slack", "SLACK_WEBHOOK_URL"))
        github = self._until("the local GitHub is ready", lambda: self._ready("GitHub", "GITHUB_API_URL"))
        self.git_url = f"{github.replace('://', f'://ada:{self._github_token}@')}/{repo}.git"
        self._screen.did(f"local GitHub on {github}, local Slack on {slack.partition('/services')[0]}", began)
        began = time.monotonic()
        self._start_tagship(github, slack)
        client = TagshipClient(self.tagship_url, self.api_token)
        self._until("Tagship is ready", client.ready, client.not_ready_because)
        self._screen.did(f"tagship serve is ready on {self.tagship_url} with its own PostgreSQL", began)
        return client

    def watch(self) -> None:
        """Everything still runs; what arrived at GitHub's hooks and at Slack since the last time is on the screen."""
        for program in self._programs.values():
            program.check()
        for line in self._programs["GitHub"].new_text().splitlines():
            if delivered := DELIVERED.match(line):
                event, ref, answer = delivered.groups()
                self._screen.heard("GitHub", f"sent {event} of {ref.removeprefix('refs/tags/')}, answer {answer}")
        *messages, self._unread_slack = (self._unread_slack + self._programs["Slack"].new_text()).split("\n\n")
        for message in messages:
            self.slack_messages += 1
            self._screen.heard("Slack ", _readable(message))

    def tail(self) -> str:
        """The end of Tagship's log, when it was started."""
        return self._programs["Tagship"].tail() if "Tagship" in self._programs else ""

    def _start_github(self, repo: str, files: Path) -> None:
        # With "=", for a random value may begin with a hyphen.
        command = [sys.executable, "-m", "tests.fakes.github", f"--root={self.folder / 'github'}"]
        command += [f"--webhook-url={self.tagship_url}/webhooks/github", f"--webhook-secret={self._webhook_secret}"]
        command += [f"--token={self._github_token}", f"--repository={repo}={files}"]
        self._start("GitHub", command, _plain_environment())

    def _start_tagship(self, github: str, slack: str) -> None:
        settings = {
            "GITHUB_API_URL": github,
            "GITHUB_TOKEN": self._github_token,
            "GITHUB_WEBHOOK_SECRET": self._webhook_secret,
            "SLACK_WEBHOOK_URL": slack,
            "TAGSHIP_NOTIFY_PRIVATE_NETWORKS": "127.0.0.0/8",  # so that a channel may be made for it, too
            "TAGSHIP_PORT": str(self._port),
            "TAGSHIP_DATA_DIR": str(self.folder / "data"),
            "TAGSHIP_API_TOKEN": self.api_token,
            "TAGSHIP_LOG_FORMAT": "console",
        }
        command = [str(Path(sys.executable).with_name("tagship")), "serve"]
        self._start("Tagship", command, _plain_environment() | settings)

    def _start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self._programs[name] = start(
            name, command, environment=environment, folder=self.folder, ledger=self._ledger, cwd=CHECKOUT
        )

    def _ready(self, name: str, setting: str) -> str:
        """The address in the line with which a local server says that it is ready; empty before."""
        found = re.search(rf"^READY {setting}=(\S+)", self._programs[name].text(), re.MULTILINE)
        if not found:
            return ""
        self._programs[name].new_text()
        return found[1]

    def _until(self, what: str, look: Callable[[], Found], why_not: Callable[[], str] = str) -> Found:
        deadline = time.monotonic() + START_S
        while not (found := look()):
            for program in self._programs.values():
                program.check()
            if time.monotonic() > deadline:
                raise StoryFailed(f"waited {START_S:.0f} s in vain until {what} {why_not()}")
            time.sleep(0.05)
        return found


def _plain_environment() -> dict[str, str]:
    """Our environment without anybody's Tagship settings: the try-out never touches their database or their GitHub."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


def _readable(message: str) -> str:
    """A Slack message with its links reduced to their names and its escapes undone."""
    text = SLACK_LINK.sub(r"\1", message.strip())
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
