"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.builds.limits import ContextLimits
from app.engine.shape import BuildLimits
from app.errors import SettingsInvalid
from app.settings import Settings, load_settings, secret_fields
from app.stages import build_limits, context_limits

README = Path(__file__).parents[2] / "README.md"


def test_an_empty_environment_is_valid() -> None:
    settings = load_settings({})
    assert (settings.tagship_host, settings.tagship_port) == ("127.0.0.1", 8004)
    assert settings.webhook_secrets == ()


def test_builds_are_limited_only_when_that_is_asked_for() -> None:
    settings = load_settings({})
    assert build_limits(settings) == BuildLimits()
    assert settings.tagship_build_log_mb == 64
    wanted = {"TAGSHIP_BUILD_MEMORY_MB": "512", "TAGSHIP_BUILD_CPUS": "1.5", "TAGSHIP_BUILD_NETWORK": "none"}
    assert build_limits(load_settings(wanted)) == BuildLimits(512 * 1024 * 1024, 1.5, "none")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAGSHIP_BUILD_MEMORY_MB", "15"),
        ("TAGSHIP_BUILD_MEMORY_MB", "1.5"),
        ("TAGSHIP_BUILD_CPUS", "0"),
        ("TAGSHIP_BUILD_CPUS", "inf"),
        ("TAGSHIP_BUILD_NETWORK", "host"),
        ("TAGSHIP_BUILD_LOG_MB", "0"),
    ],
)
def test_a_limit_that_is_none_is_refused_by_name(name: str, value: str) -> None:
    assert [problem.partition(":")[0] for problem in problems(**{name: value})] == [name]


def test_every_wrong_setting_is_named_at_once_and_no_value_repeated() -> None:
    wrong = {
        "TAGSHIP_PORT": "99999",
        "TAGSHIP_BUILD_CONCURRENCY": "many",
        "DATABASE_URL": "mysql://canary@host/db",
        "TAGSHIP_API_TOKEN": "canary",
        "SLACK_WEBHOOK_URL": "canary",
        "TAGSHIP_LOG_FORMAT": "xml",
        "DOCKER_HOST": "canary",
        "GITHUB_API_URL": "https://canary host",
        "GITHUB_APP_ID": "1",
        "GITHUB_APP_PRIVATE_KEY": "canary",
        "REGISTRY": "https://canary.example",
    }
    with pytest.raises(SettingsInvalid) as refused:
        load_settings(wrong)
    named = {problem.partition(":")[0] for problem in refused.value.problems}
    assert named == set(wrong) - {"GITHUB_APP_ID"}
    assert "canary" not in str(refused.value)


def problems(**wrong: str) -> tuple[str, ...]:
    with pytest.raises(SettingsInvalid) as refused:
        load_settings(wrong)
    return refused.value.problems


def test_halves_of_a_pair_are_refused_beside_what_else_is_wrong() -> None:
    assert problems(GITHUB_APP_ID="1", TAGSHIP_PORT="0") == (
        "TAGSHIP_PORT: input should be greater than or equal to 1",
        "GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY go together: set both or neither",
    )


def test_credentials_of_a_registry_are_whole_and_belong_to_one() -> None:
    assert problems(REGISTRY="r.example", REGISTRY_PASSWORD="canary") == (
        "REGISTRY_USERNAME and REGISTRY_PASSWORD go together: set both or neither",
    )
    assert problems(REGISTRY_USERNAME="me", REGISTRY_PASSWORD="canary") == (
        "REGISTRY_USERNAME: there is no REGISTRY to sign in to; set REGISTRY, or unset it",
    )
    settings = load_settings({"REGISTRY": "r.example", "REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "canary"})
    assert "canary" in settings.secret_values()
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    "registry",
    [
        "r.example",
        "r.example/team/sub-team",
        "localhost",
        "localhost:5000/a",
        "127.0.0.1:5000",
        "[::1]:5000/x",
        "registry:5000",
        "ghcr.io/acme",
    ],
)
def test_a_registry_is_taken_and_loses_its_last_slash(registry: str) -> None:
    assert load_settings({"REGISTRY": f"{registry}/"}).registry == registry


@pytest.mark.parametrize(
    "registry",
    [
        "https://r.example",
        "registry",
        "acme/team",
        "r.example/Team",
        "r.example//x",
        "r.example:0",
        "r.example:99999",
        "r.example:x",
        "r.example/a:b",
        "me@r.example",
        "me:secret@r.example/x",
        "r.example/a b",
        "-r.example",
        "r.example/a@sha256:0",
        "/r.example",
        "r.example?x",
    ],
)
def test_what_is_no_registry_is_refused(registry: str) -> None:
    assert problems(REGISTRY=registry)[0].startswith("REGISTRY: must be host[:port][/path]")


@pytest.mark.parametrize(
    "host",
    [
        "unix:///var/run/docker.sock",
        "tcp://10.0.0.1:2376",
        "tcp://engine",
        "https://[::1]:2376/",
        "http://engine.lan:1",
    ],
)
def test_an_address_of_an_engine_is_taken(host: str) -> None:
    assert load_settings({"DOCKER_HOST": host}).docker_host == host


@pytest.mark.parametrize(
    ("host", "word"),
    [
        ("ssh://me@engine", "ssh -L"),
        ("engine:2375", "tcp://host:port"),
        ("/var/run/docker.sock", "unix:///path"),
        ("unix://docker.sock", "whole path"),
        ("npipe:////./pipe/docker_engine", "unix:///path"),
        ("tcp://", "not a valid URL"),
        ("tcp://engine:port", "not a valid URL"),
        ("tcp://engine:99999", "not a valid URL"),
        ("tcp://engine:2375/v1.41", "host and port"),
        ("tcp://me:secret@engine", "host and port"),
    ],
)
def test_what_is_no_address_of_an_engine_is_refused_with_its_reason(host: str, word: str) -> None:
    [sentence] = problems(DOCKER_HOST=host)
    assert sentence.startswith("DOCKER_HOST: ")
    assert word in sentence


@pytest.mark.parametrize(
    "url",
    ["github.com", "ftp://github.com", "https://", "https://a b", "https://[::1", "https://x:0", "https://x/?a=1"],
)
@pytest.mark.parametrize("name", ["GITHUB_API_URL", "TAGSHIP_PUBLIC_URL"])
def test_what_is_no_http_address_is_refused(name: str, url: str) -> None:
    [sentence] = problems(**{name: url})
    assert sentence.startswith(f"{name}: ")


def test_an_address_may_have_a_port_and_a_path_and_loses_its_last_slash() -> None:
    assert load_settings({"GITHUB_API_URL": "https://ghes.lan:8443/api/v3/"}).github_api_url == (
        "https://ghes.lan:8443/api/v3"
    )


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_a_key_of_a_github_app_is_taken_with_real_and_with_escaped_line_ends() -> None:
    key = pem(rsa.generate_private_key(65537, 2048))
    for written in (key, key.replace("\n", "\\n")):
        assert load_settings({"GITHUB_APP_ID": "1", "GITHUB_APP_PRIVATE_KEY": written}).github_app_private_key


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("canary", "PEM"),
        ("-----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----", "PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "RSA"),
    ],
    ids=["text", "broken", "elliptic"],
)
def test_what_is_no_key_of_a_github_app_is_refused(key: str, word: str) -> None:
    [sentence] = problems(GITHUB_APP_ID="1", GITHUB_APP_PRIVATE_KEY=key)
    assert sentence.startswith("GITHUB_APP_PRIVATE_KEY: ")
    assert word in sentence
    assert "canary" not in sentence


def test_what_a_source_may_hold_is_for_the_operator_to_say() -> None:
    usual = context_limits(load_settings({}))
    assert usual == ContextLimits()
    given = {"TAGSHIP_CONTEXT_MAX_MB": "3", "TAGSHIP_CONTEXT_MAX_FILE_MB": "2", "TAGSHIP_CONTEXT_MAX_ENTRIES": "7"}
    limits = context_limits(load_settings(given))
    assert (limits.total_bytes, limits.file_bytes, limits.entries) == (3 * 1024**2, 2 * 1024**2, 7)
    assert len(problems(**dict.fromkeys(given, "0"))) == 3


def test_several_webhook_secrets_are_split() -> None:
    assert load_settings({"GITHUB_WEBHOOK_SECRET": " new , old,"}).webhook_secrets == ("new", "old")


@pytest.mark.parametrize(
    "token", [" canary-with-blanks ", "canary\ncanary-canary", "é" * 20, "canary\0" * 3, "c" * 1001]
)
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    sentence = "must be plain ASCII without blanks, 1000 characters at most"
    assert set(problems(TAGSHIP_API_TOKEN=token, GITHUB_TOKEN=token)) == {
        f"TAGSHIP_API_TOKEN: {sentence}",
        f"GITHUB_TOKEN: {sentence}",
    }


def test_empty_values_count_as_unset() -> None:
    assert load_settings({"SLACK_WEBHOOK_URL": "", "TAGSHIP_PORT": " "}) == load_settings({})


SECRETS = {
    "DATABASE_URL": "postgresql://me:canary@host/db",
    "GITHUB_WEBHOOK_SECRET": "canary of a webhook",
    "GITHUB_TOKEN": "canary-of-github",
    "GITHUB_APP_PRIVATE_KEY": pem(rsa.generate_private_key(65537, 2048)).strip(),
    "SLACK_WEBHOOK_URL": "https://hooks.example/canary",
    "REGISTRY_PASSWORD": "canary-of-a-registry",
    "TAGSHIP_API_TOKEN": "canary-0123456789",
    "TAGSHIP_SECRET_KEY": "canary-9876543210",
}


def test_every_secret_may_be_in_a_file_and_nothing_else_may(tmp_path: Path) -> None:
    given = {}
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(f"{value}\n")
        given[f"{name}_FILE"] = str(tmp_path / name)
    assert {name.upper() for name in secret_fields()} >= set(SECRETS)
    beside = {"GITHUB_APP_ID": "1", "REGISTRY": "r.example", "REGISTRY_USERNAME": "me"}
    settings = load_settings(beside | {"TAGSHIP_PORT_FILE": "/etc/passwd"} | given)
    assert settings == load_settings(beside | SECRETS)


def test_a_secret_of_blanks_in_a_file_counts_as_unset(tmp_path: Path) -> None:
    (tmp_path / "blank").write_text(" \n")
    assert load_settings({"GITHUB_TOKEN_FILE": str(tmp_path / "blank"), "SLACK_WEBHOOK_URL_FILE": ""}) == (
        load_settings({})
    )


def test_files_of_secrets_that_cannot_be_had_are_named_with_what_else_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "short").write_text("canary")
    named = problems(
        DATABASE_URL_FILE=str(tmp_path / "none"),
        GITHUB_TOKEN_FILE=str(tmp_path / "binary"),
        SLACK_WEBHOOK_URL="https://hooks.example/canary",
        SLACK_WEBHOOK_URL_FILE=str(tmp_path / "short"),
        TAGSHIP_API_TOKEN_FILE=str(tmp_path / "short"),
    )
    assert named == (
        "TAGSHIP_API_TOKEN: must have at least 16 characters",
        f"DATABASE_URL_FILE: {tmp_path}/none cannot be read: No such file or directory",
        f"GITHUB_TOKEN_FILE: {tmp_path}/binary is not text in UTF-8",
        "SLACK_WEBHOOK_URL and SLACK_WEBHOOK_URL_FILE are both set: unset one of them",
    )
    assert "canary" not in str(named)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert f"`{name.upper()}`" in README.read_text()


def test_private_networks_are_a_list_and_none_by_default() -> None:
    assert load_settings({}).private_networks == ()
    given = load_settings({"TAGSHIP_NOTIFY_PRIVATE_NETWORKS": " 10.0.0.0/8, fd00::/8,192.0.2.1 "}).private_networks
    assert [str(network) for network in given] == ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "10.0.0.0/33", "mattermost", "10.0.0.0/8;fd00::/8"])
def test_a_network_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsInvalid, match="TAGSHIP_NOTIFY_PRIVATE_NETWORKS: must be networks such as"):
        load_settings({"TAGSHIP_NOTIFY_PRIVATE_NETWORKS": wrong})
