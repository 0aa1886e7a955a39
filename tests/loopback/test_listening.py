"""The socket that requests come in by."""

from __future__ import annotations

import socket

from app.serving import listen
from app.settings import load_settings
from tests.world import free_port


def test_no_answer_waits_for_the_acknowledgement_of_its_first_part() -> None:
    settings = load_settings({"TAGSHIP_PORT": str(free_port())})
    with listen(settings) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
