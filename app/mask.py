"""What people see in place of a secret: in logs, in build logs and in the API."""

from __future__ import annotations

from typing import Final

MASK: Final = "********"
