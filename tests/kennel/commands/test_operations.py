"""`kennel keys`: added, listed and removed in a file that others cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kennel.cli import main
from service.auth.keys import KeyRing, read_keys


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys"
    monkeypatch.setenv("API_KEYS_FILE", str(path))
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments])


def test_who_may_read_the_file_stays(path: Path) -> None:
    run("add", "app", "--scopes", "predict")
    path.chmod(0o640)

    run("add", "other", "--scopes", "jobs")

    assert path.stat().st_mode & 0o777 == 0o640


def test_new_key_is_printed_once_and_kept_as_a_hash(path: Path) -> None:
    secret = run("add", "app", "--scopes", "predict", "--rate", "5/hour").stdout.strip()

    key = KeyRing(path).find(secret)
    assert secret.startswith("kennel_")
    assert len(secret) > 40
    assert key is not None
    assert (key.name, set(key.scopes)) == ("app", {"predict"})
    assert secret not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_list_names_keys_scopes_and_rates(path: Path) -> None:
    run("add", "app", "--rate", "5/hour")
    run("add", "ops", "--scopes", "admin")

    assert run("list").stdout.splitlines() == [
        "app  jobs,predict  5/hour",
        "ops  admin  default rate",
    ]
    assert json.loads(run("list", "--json").stdout)[1] == {
        "name": "ops",
        "scopes": ["admin"],
        "rate": None,
    }


def test_removing_a_key_leaves_comments_and_others(path: Path) -> None:
    run("add", "app")
    path.write_text(path.read_text() + "# the telephone\n")
    run("add", "phone")

    run("remove", "app")

    assert [key.name for key in read_keys(path)] == ["phone"]
    assert "# the telephone\n" in path.read_text()


def test_rotated_key_keeps_name_scopes_and_rate(path: Path) -> None:
    old = run("add", "app", "--scopes", "predict", "--rate", "5/hour").stdout.strip()
    run("add", "phone")
    before = read_keys(path)

    new = run("rotate", "app").stdout.strip()

    ring = KeyRing(path)
    found = ring.find(new)
    assert ring.find(old) is None
    assert found is not None
    assert (found.name, found.scopes, found.rate) == (
        "app",
        before[0].scopes,
        before[0].rate,
    )
    assert read_keys(path)[1] == before[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("add", "a b"), 2, "a b"),
        (("add", "x", "--scopes", "predict,all"), 2, "all"),
        (("add", "x", "--rate", "many"), 2, "600/minute"),
        (("add", "app"), 1, "there is a key 'app'"),
        (("remove", "x"), 1, "no key 'x'"),
        (("rotate", "x"), 1, "no key 'x'"),
    ],
)
def test_refusals_name_value_and_remedy(
    path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    run("add", "app")

    result = run(*arguments)

    assert (result.exit_code, message in result.output) == (code, True)


def test_without_a_file_named_the_home_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_KEYS_FILE", raising=False)
    monkeypatch.setenv("KENNEL_HOME", str(tmp_path))

    result = run("add", "app")

    assert (tmp_path / "api-keys").exists()
    assert f"API_KEYS_FILE={tmp_path / 'api-keys'}" in result.stderr
