"""The local programs of a run: each leads its own process group, writes its own log, and is in the ledger."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ops.tryout.ledger import Ledger

TAIL_LINES: Final = 25


class StoryFailed(Exception):
    """The try-out cannot go on; ``str()`` says why, for people."""


class Program:
    """One running program."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self._log, self._process = name, log, process
        self._read = 0

    def check(self) -> None:
        """Raises ``StoryFailed`` with the end of its log when it no longer runs."""
        if self._process.poll() is not None:
            raise StoryFailed(f"{self.name} ended by itself (status {self._process.returncode})")

    def text(self) -> str:
        """Everything it has written."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def new_text(self) -> str:
        """What it has written since the last call."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode(errors="replace")

    def tail(self) -> str:
        """Its last lines."""
        return "\n".join(self.text().splitlines()[-TAIL_LINES:])


def start(
    name: str, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, ledger: Ledger, cwd: Path
) -> Program:
    """``command`` runs, and ends with us at the latest: also when we are killed."""
    log = folder / f"{name.lower().replace(' ', '-')}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
    ledger.record_process(process.pid)
    return Program(name, process, log)


def free_port() -> int:
    """A port of the loopback interface that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether ``port`` can be had on every interface, as a published port needs it."""
    try:
        socket.create_server(("0.0.0.0", port)).close()
    except OSError:
        return False
    return True
