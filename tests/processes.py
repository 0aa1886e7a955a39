"""Processes that tests start."""

from __future__ import annotations

from typing import Final

# Put before a command: it is killed, also when it has been stopped, as soon as the test process has ended, however that
# ends. (What outlives it holds its standard output open, and whoever reads that to its end waits.)
DIES_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL", "--")
