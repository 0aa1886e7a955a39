"""What the dashboard's pure parts promise in their docstrings, and what hostile text becomes on a page."""

from __future__ import annotations

import doctest

import pytest

import app.dashboard.prefix
import app.dashboard.pulse
import app.dashboard.signin
import app.dashboard.wording
from app.builds.model import BuildState
from app.dashboard.shell import TEMPLATES
from app.dashboard.wording import TONES, chip
from app.notices.model import NoticeState
from app.products.model import ProductStatus
from app.rollouts.model import RolloutState

HOSTILE = '"><script>alert(1)</script>{{ 7 * 7 }}'


@pytest.mark.parametrize(
    "module", [app.dashboard.prefix, app.dashboard.pulse, app.dashboard.signin, app.dashboard.wording], ids=str
)
def test_examples_in_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("states", [BuildState, RolloutState, ProductStatus, NoticeState], ids=str)
def test_every_state_has_a_sign_and_a_tone(states: type[BuildState]) -> None:
    assert not [state for state in states if str(state) not in TONES]


def test_a_chip_escapes_what_it_says() -> None:
    assert "<script>" not in chip("failed", HOSTILE)


def test_templates_escape_by_themselves_and_render_no_name_that_nobody_gave() -> None:
    made = TEMPLATES.from_string('<p title="{{ text }}">{{ text }}</p>').render(text=HOSTILE)
    assert "<script>" not in made
    assert "49" not in made
    with pytest.raises(Exception, match="undefined"):
        TEMPLATES.from_string("{{ nobody_gave_this }}").render()
