"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import SettingsInvalid
from app.settings import Settings, load_settings

README = Path(__file__).parents[2] / "README.md"


def test_an_empty_environment_is_valid() -> None:
    settings = load_settings({})
    assert (settings.tagship_host, settings.tagship_port) == ("127.0.0.1", 8004)
    assert settings.webhook_secrets == ()


def test_every_wrong_setting_is_named_at_once_and_no_value_repeated() -> None:
    wrong = {
        "TAGSHIP_PORT": "99999",
        "TAGSHIP_BUILD_CONCURRENCY": "many",
        "DATABASE_URL": "mysql://canary@host/db",
        "TAGSHIP_API_TOKEN": "canary",
        "SLACK_WEBHOOK_URL": "canary",
        "TAGSHIP_LOG_FORMAT": "xml",
    }
    with pytest.raises(SettingsInvalid) as refused:
        load_settings(wrong)
    named = {problem.partition(":")[0] for problem in refused.value.problems}
    assert named == set(wrong)
    assert "canary" not in str(refused.value)


def test_halves_of_a_pair_are_refused() -> None:
    with pytest.raises(SettingsInvalid, match="GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY"):
        load_settings({"GITHUB_APP_ID": "1"})


def test_several_webhook_secrets_are_split() -> None:
    assert load_settings({"GITHUB_WEBHOOK_SECRET": " new , old,"}).webhook_secrets == ("new", "old")


def test_empty_values_count_as_unset() -> None:
    assert load_settings({"SLACK_WEBHOOK_URL": "", "TAGSHIP_PORT": " "}) == load_settings({})


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert f"`{name.upper()}`" in README.read_text()
