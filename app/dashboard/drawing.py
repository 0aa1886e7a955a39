"""Charts over days as values: where bars and lines go, and the table that says the same. Pure; a template draws them.

The drawing area of n days is n wide and 100 high and is stretched to its place, with text beside it and not in it: so
it reads on a phone too. A day on which nothing happened is a gap in a line and an empty place among bars.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Final

from app.dashboard.wording import UNKNOWN, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

HEIGHT: Final = 100.0
BAR: Final = 0.72
NEARLY_ALL: Final = 99  # percent; above it tenths are told too
COUNT_STEPS: Final = (1, 1.5, 2, 3, 4, 6, 8, 10)
SECONDS_TOPS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400)


@dataclass(frozen=True, slots=True)
class Series:
    """A value for each day, None where there is none; ``look`` is its class in tagship.css."""

    name: str
    look: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle of the drawing area."""

    x: float
    y: float
    width: float
    height: float
    look: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: bars on top of each other, or lines. ``top`` is its upper edge's value; ``show`` words a value."""

    id: str
    title: str
    days: tuple[date, ...]
    series: tuple[Series, ...]
    top: float
    show: Callable[[float | None], str]
    stacked: bool

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(value for one in self.series for value in one.values)

    @property
    def top_label(self) -> str:
        return self.show(self.top)

    @property
    def bars(self) -> list[Bar]:
        """Of a stacked chart: the bars of each day, from the ground up."""
        if not self.stacked:
            return []
        bars = []
        for day in range(len(self.days)):
            ground = HEIGHT
            for one in self.series:
                height = (one.values[day] or 0) / self.top * HEIGHT
                ground -= height
                if height:
                    bars.append(Bar(day + (1 - BAR) / 2, round(ground, 2), BAR, round(height, 2), one.look))
        return bars

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Of the others: each series' path and look."""
        return [] if self.stacked else [(path_of(one.values, self.top), one.look) for one in self.series]

    @property
    def dots(self) -> list[tuple[str, str]]:
        """A point for each value of a line: as a path, since a stretched circle would be an ellipse."""
        if self.stacked:
            return []
        return [
            ("".join(f"M{day + 0.5:g} {_y(value, self.top):g}h0" for day, value in given(one.values)), one.look)
            for one in self.series
        ]

    @property
    def rows(self) -> list[tuple[date, list[str]]]:
        """The table: what each day says, the latest first."""
        said = [(day, [self.show(one.values[at]) for one in self.series]) for at, day in enumerate(self.days)]
        return said[::-1]


def line_chart(
    name: str,
    title: str,
    days: Sequence[date],
    series: Sequence[Series],
    show: Callable[[float | None], str] = duration,
) -> Chart:
    """Lengths of time over days, in seconds."""
    highest = max((value for one in series for _, value in given(one.values)), default=0.0)
    return Chart(name, title, tuple(days), tuple(series), seconds_top(highest), show, stacked=False)


def bar_chart(name: str, title: str, days: Sequence[date], series: Sequence[Series]) -> Chart:
    """Numbers of things over days, on top of each other."""
    sums = [sum(one.values[day] or 0 for one in series) for day in range(len(days))]
    return Chart(name, title, tuple(days), tuple(series), count_top(max(sums, default=0)), number, stacked=True)


def path_of(values: Sequence[float | None], top: float) -> str:
    """The path of a line through the values, interrupted where there is none.

    >>> path_of([10, None, 5, 0], 10)
    'M0.5 0M2.5 50L3.5 100'
    """
    path, drawn = "", False
    for day, value in enumerate(values):
        if value is not None:
            path += f"{'L' if drawn else 'M'}{day + 0.5:g} {_y(value, top):g}"
        drawn = value is not None
    return path


def given(values: Sequence[float | None]) -> list[tuple[int, float]]:
    """The values that are there, each with its place.

    >>> given([None, 2.0])
    [(1, 2.0)]
    """
    return [(at, value) for at, value in enumerate(values) if value is not None]


def seconds_top(highest: float) -> float:
    """A round length of time that is not below ``highest``.

    >>> [seconds_top(highest) for highest in (0, 41, 61, 100_000)]
    [1, 60, 120, 172800]
    """
    return next((top for top in SECONDS_TOPS if top >= highest), ceil(highest / 86_400) * 86_400)


def count_top(highest: float) -> float:
    """A round number that is not below ``highest``.

    >>> [count_top(highest) for highest in (0, 3, 7, 12, 180, 2100)]
    [1, 3, 8, 15, 200, 3000]
    """
    if highest <= 1:
        return 1
    power = 10 ** floor(log10(highest))
    return next(int(step * power) for step in COUNT_STEPS if step * power >= highest)


def number(value: float | None) -> str:
    """A count as it reads.

    >>> number(1200), number(None)
    ('1,200', '0')
    """
    return f"{value or 0:,.0f}"


def percent(part: float, whole: float) -> str:
    """A share as it reads; never 100 % of what is not whole, nor 0 % of what is not nothing.

    >>> percent(96, 100), percent(999, 1000), percent(1, 1000), percent(0, 0)
    ('96 %', '99.9 %', '0.1 %', '—')
    """
    if not whole:
        return UNKNOWN
    share = 100 * part / whole
    if share in {0, 100} or 1 <= share <= NEARLY_ALL:
        return f"{share:.0f} %"
    return f"{min(max(share, 0.1), 99.9):.1f} %"


def _y(value: float, top: float) -> float:
    return round(HEIGHT - min(value / top, 1) * HEIGHT, 2)
