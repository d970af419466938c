"""The command line: what it prints, and what it says when it is held wrong."""

import re
from dataclasses import fields

import pytest

from infra.settings import Settings
from tests.infra.running import outcome


def test_without_a_command_it_shows_its_commands():
    code, out, err = outcome()
    assert (code, err) == (0, "")
    assert "serve" in out


def test_version():
    code, out, _ = outcome("version")
    assert code == 0
    assert out.startswith("stoa 0.")


def test_settings_lists_every_variable_and_no_secret(tmp_path):
    code, out, _ = outcome(
        "settings", STOA_DATA_DIR=str(tmp_path / "data"), STOA_DATABASE_URL="postgresql://stoa:hunter2@db/stoa"
    )
    assert code == 0
    assert "hunter2" not in out
    assert re.search(rf"^STOA_DATA_DIR +{tmp_path}/data +\S", out, re.MULTILINE)
    assert len(out.splitlines()) == len(fields(Settings))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "--prot", "1"), "stoa: No such option: --prot"),
        (("sevre",), "stoa: No such command 'sevre'"),
        (("keys",), "stoa: Missing command"),
    ],
)
def test_usage_errors_are_one_line(arguments, said):
    code, out, err = outcome(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_keys_rotate(tmp_path):
    code, out, _ = outcome("keys", "rotate", STOA_DATA_DIR=str(tmp_path / "data"))
    assert code == 0
    kids = [line.split()[0] for line in (tmp_path / "data" / "secret.keys").read_text().splitlines()]
    assert len(kids) == 2
    assert out.startswith(f"key {kids[0]} signs from the next start")


def test_keys_of_the_environment_are_not_ours_to_rotate(tmp_path):
    environ = {"STOA_DATA_DIR": str(tmp_path / "data"), "STOA_SECRET_KEY": "x" * 32}
    code, _, err = outcome("keys", "rotate", **environ)
    assert (code, err[:39]) == (2, "stoa: the keys come from STOA_SECRET_KE")
    assert not (tmp_path / "data").exists()


def test_check_judges_the_code_and_touches_no_data(tmp_path):
    code, out, _ = outcome("check", STOA_DATA_DIR=str(tmp_path / "data"), STOA_DATABASE_URL="postgresql://nobody@::1/x")
    assert code == 0
    assert re.search(r"^\d+ routes compile, schema.graphql is current, models and migrations agree$", out, re.MULTILINE)
    assert not (tmp_path / "data").exists()
