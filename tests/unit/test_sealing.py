"""Sealed values open for those who may, and for nobody else; masks keep values; secret files are made once."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mask import MASK
from app.sealing import SealBroken, SecretFileUnusable, Vault, load_or_create_secret, mask_env, merge_masked

OLD = "the secret key of last year"
NEW = "the secret key of this year"


@given(data=st.binary(max_size=200), context=st.text(max_size=40).filter(lambda text: text.isprintable()))
def test_sealed_value_opens_for_its_context(data: bytes, context: str) -> None:
    vault = Vault.from_secret(NEW)
    assert vault.open(vault.seal(data, context), context) == data


def test_sealed_value_hides_the_data_and_never_looks_the_same() -> None:
    vault = Vault.from_secret(NEW)
    first, second = vault.seal(b"PASSWORD=x", "shop"), vault.seal(b"PASSWORD=x", "shop")
    assert "PASSWORD" not in first
    assert first != second
    assert first.startswith("v1:")
    assert first.isascii()


def test_value_moved_to_another_row_does_not_open() -> None:
    vault = Vault.from_secret(NEW)
    with pytest.raises(SealBroken, match="stored for other was changed or belongs to something else"):
        vault.open(vault.seal(b"x", "shop"), "other")


def test_value_of_another_key_does_not_open_and_says_which_setting_to_mend() -> None:
    with pytest.raises(SealBroken, match=r"another secret key .*TAGSHIP_SECRET_KEY"):
        Vault.from_secret(NEW).open(Vault.from_secret(OLD).seal(b"x", "shop"), "shop")


@pytest.mark.parametrize("broken", ["", "x", "v2:a:b:c", "v1:{id}:é:é", "v1:{id}:!!:!!", "v1:a:b:c:d", '{"A": "b"}'])
def test_text_of_another_form_is_called_so(broken: str) -> None:
    vault = Vault.from_secret(NEW)
    with pytest.raises(SealBroken, match="is not a sealed value"):
        vault.open(broken.replace("{id}", vault.seal(b"", "x").split(":")[1]), "shop")


@pytest.mark.parametrize("nonce", ["", "AAAA", "A" * 400])
def test_nonce_of_a_wrong_length_is_refused(nonce: str) -> None:
    vault = Vault.from_secret(NEW)
    parts = vault.seal(b"x", "shop").split(":")
    with pytest.raises(SealBroken):
        vault.open(":".join((parts[0], parts[1], nonce, parts[3])), "shop")


@given(position=st.integers(min_value=0), letter=st.sampled_from("AZaz09-_"))
def test_no_changed_ciphertext_opens(position: int, letter: str) -> None:
    vault = Vault.from_secret(NEW)
    sealed = vault.seal(b"some data of some length", "shop")
    start = sealed.rindex(":") + 1
    # The last character holds bits that base64 ignores.
    at = start + position % (len(sealed) - start - 1)
    changed = sealed[:at] + letter + sealed[at + 1 :]
    if changed != sealed:
        with pytest.raises(SealBroken):
            vault.open(changed, "shop")


def test_rotation_opens_old_values_and_seals_with_the_new_key() -> None:
    old = Vault.from_secret(OLD).seal(b"x", "shop")
    both = Vault.from_secret(NEW, OLD)
    assert both.open(old, "shop") == b"x"
    resealed = both.seal(b"x", "shop")
    assert Vault.from_secret(NEW).open(resealed, "shop") == b"x"


def test_mask_written_back_keeps_the_value() -> None:
    old = {"A": "1", "B": "2", "GONE": "3"}
    assert merge_masked({**mask_env(old), "B": "two", "NEW": ""} | {}, old) == {
        "A": "1",
        "B": "two",
        "GONE": "3",
        "NEW": "",
    }
    assert merge_masked({"A": MASK}, old) == {"A": "1"}


def test_mask_of_an_unknown_name_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="NEW, OTHER: "):
        merge_masked({"A": MASK, "OTHER": MASK, "NEW": MASK}, {"A": "1"})


def test_mask_shows_names_only() -> None:
    assert mask_env({"A": "1", "B": ""}) == {"A": MASK, "B": MASK}


def test_secret_is_made_once_and_private(tmp_path: Path) -> None:
    file = tmp_path / "new" / "admin-token"
    secret = load_or_create_secret(file, 32)
    assert len(secret) >= 43
    assert load_or_create_secret(file, 32) == secret
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_secret_written_by_a_person_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  chosen by hand\n")
    assert load_or_create_secret(tmp_path / "key", 32) == "chosen by hand"


def test_processes_that_start_together_get_one_secret(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, app.sealing as s; sys.stdin.read(); "
        "print(s.load_or_create_secret(pathlib.Path(sys.argv[1]), 32))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "key")]
    started = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(Path.cwd())}
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin
        process.stdin.close()
    answers = set()
    for process in started:
        assert process.stdout
        with process.stdout as output:
            answers.add(output.read())
        assert process.wait(60) == 0
    assert answers == {(tmp_path / "key").read_text()}


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_unusable_secret_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SecretFileUnusable, match=str(tmp_path / "key")):
        load_or_create_secret(tmp_path / "key", 32)


def test_folder_in_place_of_a_secret_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretFileUnusable, match="Is a directory"):
        load_or_create_secret(tmp_path, 32)
