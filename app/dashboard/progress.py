"""How far a build is, as the end of its log says. Pure.

Both builders number their steps: the classic one says ``Step 3/9 : RUN make``, BuildKit ``#7 [3/9] RUN make`` or, where
there are several stages, ``#7 [build 3/9] RUN make``.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Final

STEP: Final = re.compile(
    r"^(?:Step (\d{1,4})/(\d{1,4}) : |#\d{1,6} \[(?:[^\]\n]{1,80} )?(\d{1,4})/(\d{1,4})\] )([^\n]{1,400})", re.MULTILINE
)
ESCAPES: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f]")
LONGEST_LABEL: Final = 80
ALMOST: Final = 0.98  # a build that takes longer than usual is not over


@dataclass(frozen=True, slots=True)
class Step:
    """The step that a build named last."""

    number: int
    of_all: int
    label: str


def step_of(log_end: str) -> Step | None:
    r"""The step that the end of a log names last; None when it names none.

    >>> step_of("#6 [2/9] WORKDIR /app\n#6 DONE 0.1s\n\n#7 [build 3/9] RUN make\n#7 0.2 cc -O2\n")
    Step(number=3, of_all=9, label='RUN make')
    >>> step_of("Step 4/5 : COPY . .\n ---> 1f\n"), step_of("no step 3/4 here")
    (Step(number=4, of_all=5, label='COPY . .'), None)
    """
    last = deque(STEP.finditer(log_end), maxlen=1)
    if not last:
        return None
    [found] = last
    number, of_all = (int(found[1]), int(found[2])) if found[1] else (int(found[3]), int(found[4]))
    if not 0 < number <= of_all:
        return None
    label = ESCAPES.sub("", found[5]).strip()
    return Step(number, of_all, label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…")


def fraction(step: Step | None, elapsed_s: float, usual_s: float | None) -> float | None:
    """How much of a build is done, from 0 to 1: by the time that builds of this name usually take, or by its steps
    where none was built before; None when nobody knows.

    >>> fraction(None, 29, 46.0), fraction(None, 60, 46.0), fraction(Step(3, 9, ""), 5, None), fraction(None, 5, None)
    (0.6304347826086957, 0.98, 0.2222222222222222, None)
    """
    if usual_s:
        return min(elapsed_s / usual_s, ALMOST)
    return (step.number - 1) / step.of_all if step else None
