"""Ports for what tests publish, no two alike."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from typing import Final

FIRST_PORT: Final = 20_000
LAST_PORT: Final = 29_999
COUNTER: Final = Path(tempfile.gettempdir()) / f"tagship-test-ports-{os.getuid()}"


def free_port() -> int:
    """A port that nobody uses now and that no test of this machine was given before, until all have been.

    What a stopped service will publish answers to nobody, and is refused to everybody else: so ports are counted, by
    all test processes together. They lie outside of those that the kernel (ip_local_port_range) and the swarm hand out.
    """
    counter = os.open(COUNTER, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(counter, fcntl.LOCK_EX)
        port = int(os.pread(counter, 5, 0) or FIRST_PORT)
        while True:
            port = port + 1 if port < LAST_PORT else FIRST_PORT
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    os.pwrite(counter, str(port).encode(), 0)
                    return port
    finally:
        os.close(counter)
