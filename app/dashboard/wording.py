"""How values read on a page: times, durations, sizes, states. Pure; what comes from outside is escaped."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

KIB: Final = 1024
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
UNITS: Final = ((DAY_S, "d", HOUR_S, "h"), (HOUR_S, "h", MINUTE_S, "min"), (MINUTE_S, "min", 1, "s"))
TENTHS_BELOW_S: Final = 10
SHORT_SHA: Final = 7
SHORT_DIGEST: Final = 12
UNKNOWN: Final = "—"

# The tone of a state is a class of tagship.css. Each has a sign and a word too: not everybody sees colours.
TONES: Final = {
    "success": ("ok", "✓"),
    "done": ("ok", "✓"),
    "running": ("ok", "●"),
    "sent": ("ok", "✓"),
    "accepted": ("ok", "✓"),
    "building": ("run", "◐"),
    "deploying": ("run", "◐"),
    "applying": ("run", "◐"),
    "converging": ("run", "◐"),
    "pending": ("idle", "○"),
    "received": ("idle", "○"),
    "awaiting_image": ("idle", "○"),
    "stopped": ("idle", "■"),
    "ignored": ("idle", "—"),
    "cancelled": ("idle", "—"),
    "superseded": ("idle", "—"),
    "deleting": ("warn", "…"),
    "rolled_back": ("warn", "↺"),
    "failed": ("bad", "✕"),
}


def moment(value: datetime | None) -> Markup:
    """A point in time: the exact one, which static/tagship.js shows as how long ago that is, kept true while it passes.

    >>> moment(datetime(2026, 11, 27, 9, 5, 3, tzinfo=UTC))
    Markup('<time datetime="2026-11-27T09:05:03Z">2026-11-27 09:05:03 UTC</time>')
    """
    if value is None:
        return escape(UNKNOWN)
    utc = value.astimezone(UTC)
    exact = utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="{}">{}</time>').format(exact, utc.strftime("%Y-%m-%d %H:%M:%S UTC"))


def duration(seconds: float | None) -> str:
    """A length of time, short.

    >>> [duration(seconds) for seconds in (None, 0.04, 9.96, 41.4, 98, 3725, 200_000)]
    ['—', '0.0 s', '10 s', '41 s', '1 min 38 s', '1 h 2 min', '2 d 7 h']
    """
    if seconds is None:
        return UNKNOWN
    if round(seconds, 1) < TENTHS_BELOW_S:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    for unit_s, unit, rest_s, rest in (
        (DAY_S, "d", HOUR_S, "h"),
        (HOUR_S, "h", MINUTE_S, "min"),
        (MINUTE_S, "min", 1, "s"),
    ):
        if whole >= unit_s:
            left = whole % unit_s // rest_s
            return f"{whole // unit_s} {unit}" + (f" {left} {rest}" if left else "")
    return f"{whole} s"


def size(number: int | None) -> str:
    """A number of bytes, short.

    >>> [size(number) for number in (None, 0, 1023, 1536, 5 * 1024**3)]
    ['—', '0 B', '1,023 B', '1.5 KiB', '5.0 GiB']
    """
    if number is None:
        return UNKNOWN
    if number < KIB:
        return f"{number:,} B"
    value, units = number / KIB, ["KiB", "MiB", "GiB", "TiB"]
    while value >= KIB and len(units) > 1:
        value, units = value / KIB, units[1:]
    return f"{value:,.1f} {units[0]}"


def short(reference: str | None) -> str:
    """A commit, a digest or an exact image as people tell it from others.

    >>> short("4f1c9e2" + "0" * 33), short("repo/a@sha256:" + "ab" * 32), short("sha256:" + "cd" * 32), short(None)
    ('4f1c9e2', 'repo/a@sha256:abababababab', 'sha256:cdcdcdcdcdcd', '—')
    """
    if reference is None:
        return UNKNOWN
    before, found, digest = reference.rpartition("sha256:")
    return f"{before}{found}{digest[:SHORT_DIGEST]}" if found else reference[:SHORT_SHA]


def plural(number: int, thing: str) -> str:
    """So many of a thing.

    >>> plural(1, "product"), plural(1200, "build"), plural(0, "delivery"), plural(2, "deploy")
    ('1 product', '1,200 builds', '0 deliveries', '2 deploys')
    """
    ends_in_y = thing.endswith("y") and not thing.endswith(("ay", "ey", "oy"))
    many = thing if number == 1 else f"{thing[:-1]}ies" if ends_in_y else f"{thing}s"
    return f"{number:,} {many}"


def tag_name(ref: str | None) -> str:
    """A Git reference as people name it: a tag by its name.

    >>> tag_name("refs/tags/v1.0"), tag_name("refs/heads/main"), tag_name(None)
    ('v1.0', 'branch main', '—')
    """
    if ref is None:
        return UNKNOWN
    return (
        f"branch {ref.removeprefix('refs/heads/')}" if ref.startswith("refs/heads/") else ref.removeprefix("refs/tags/")
    )


def json_text(value: object) -> str:
    """A value as JSON on one line, as one edits it.

    >>> json_text({"NAME": "Zürich <1>"})
    '{"NAME": "Zürich <1>"}'
    """
    return json.dumps(value, ensure_ascii=False)


def words(state: object) -> str:
    """A state or a reason as words: ``rolled_back`` is rolled back."""
    return str(state).replace("_", " ")


def tone(state: object) -> str:
    """The class of a state's colour."""
    return TONES.get(str(state), ("idle", "○"))[0]


def chip(state: object, text: str | None = None) -> Markup:
    """A state as a chip: sign, words and colour; ``text`` instead of the state's own words."""
    kind, sign = TONES.get(str(state), ("idle", "○"))
    return Markup('<span class="chip {}"><span aria-hidden="true">{}</span> {}</span>').format(
        kind, sign, text if text is not None else words(state)
    )


FILTERS: Final = {
    "moment": moment,
    "duration": duration,
    "size": size,
    "plural": plural,
    "short": short,
    "tag_name": tag_name,
    "json_text": json_text,
    "words": words,
    "tone": tone,
    "chip": chip,
}
