"""What JSON is, strictly, and how little of a large payload is of interest.

As a program (``python -I -S slim.py``) it reads a payload and writes what matters of it. Python's own reader holds the
interpreter from the first byte to the last, in a thread as well; so a large payload is read in another process. Hence
nothing is imported here that takes long.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any, Final, NoReturn

NOT_JSON: Final = 3
NOT_AN_OBJECT: Final = 4


class NotAnObject(ValueError):
    """It is JSON, but not an object."""


def strict_object(text: str) -> dict[str, Any]:
    """The object that a JSON text is; raises ``ValueError`` for what is no JSON, ``NotAnObject`` for what is no object.

    Nothing is let pass that other readers would see differently: no member twice, no NaN.
    """
    try:
        value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise NotAnObject
    return value


def slim(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload's plain values, and those of the objects in it; what else there is, is empty."""
    return {
        name: {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else _plain(value)
        for name, value in payload.items()
    }


def _plain(value: Any) -> Any:
    return type(value)() if isinstance(value, (dict, list)) else value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object names a member twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def main() -> int:
    """Read a payload from standard input and write what matters of it; the exit code says what is wrong with it."""
    gc.disable()  # it would go through millions of small objects again and again, of which none is garbage
    try:
        payload = strict_object(sys.stdin.buffer.read().decode())
    except NotAnObject:
        return NOT_AN_OBJECT
    except ValueError:
        return NOT_JSON
    sys.stdout.write(json.dumps(slim(payload)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
