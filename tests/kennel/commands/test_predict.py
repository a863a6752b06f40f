"""`kennel predict`: output and exit codes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kennel.cli import main
from tests.kennel.scripted_api import (
    ScriptedApi,
    Step,
    answers_photos,
    refuses,
    says,
    scripted,
)

ROW = {"cat": 0.25, "dog": 0.75}
ANSWER = {
    "model": "pets",
    "version": 1,
    "labels": ["cat", "dog"],
    "predictions": [
        {"name": "1.png", "label": "dog", "probabilities": ROW, "raw": ROW},
        {"name": "2.png", "error": {"code": "x", "detail": "it is damaged"}},
    ],
}


def run(api: ScriptedApi, *arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"KENNEL_URL": api.url, **env})


def test_predict_prints_the_good_and_fails_for_the_bad(photos: list[str]) -> None:
    with scripted(says(ANSWER)) as api:
        result = run(api, "predict", *photos, "--top", "2", "--label", "canary")

    assert result.exit_code == 1
    assert result.stdout == "1.png: dog (cat 0.2500, dog 0.7500)\n"
    assert result.stderr == (
        "by pets version 1, label canary (the default model: --model names another)\n"
        "2.png: it is damaged\n"
    )
    assert api.seen[0].path == "/v1/predict?top=2&label=canary"


def test_predict_says_itself_that_a_file_is_empty(tmp_path: Path) -> None:
    empty = tmp_path / "0.jpg"
    empty.touch()
    with scripted(says(ANSWER)) as api:
        result = run(api, "predict", str(empty))

    assert (result.exit_code, api.seen) == (1, [])
    assert result.stderr == "0.jpg: the image is empty (0 bytes)\n"


def test_predict_succeeds_if_every_photo_was_used(photos: list[str]) -> None:
    good: dict[str, Any] = {**ANSWER, "predictions": ANSWER["predictions"][:1]}  # type: ignore[index]
    with scripted(says(good)) as api:
        result = run(api, "predict", photos[0], "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == good


def test_failed_request_is_named_and_the_others_are_printed(folder: Path) -> None:
    def trouble(names: list[str]) -> Step | None:
        return refuses(503, Retry_After="3600") if "9.png" in names else None

    with scripted(answers_photos(trouble)) as api:
        result = run(api, "predict", str(folder))

    assert result.exit_code == 1
    printed = [line.partition(":")[0] for line in result.stdout.splitlines()]
    assert printed == [f"{n}.png" for n in (*range(1, 9), *range(17, 21))]
    for number in range(9, 17):
        assert f"{number}.png: it is so\n" in result.stderr


def test_failed_request_is_in_the_one_json_document(folder: Path) -> None:
    def trouble(names: list[str]) -> Step | None:
        return refuses(503, Retry_After="3600") if "9.png" in names else None

    with scripted(answers_photos(trouble)) as api:
        result = run(api, "predict", str(folder), "--json")

    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (document["model"], document["version"]) == ("pets", 3)
    assert [entry["name"] for entry in document["predictions"]] == [
        f"{number}.png" for number in range(1, 21)
    ]
    assert document["predictions"][8]["error"] == {
        "code": "some_code",
        "detail": "it is so",
    }


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_refusal_of_all_ends_predict_but_loses_no_answer(
    folder: Path, as_json: tuple[str, ...]
) -> None:
    with scripted(answers_photos(), refuses(403)) as api:
        result = run(api, "predict", str(folder), *as_json)

    assert (result.exit_code, len(api.seen)) == (1, 2)
    assert "12 photos, from 9.png on, got no answer" in result.stderr
    if as_json:
        assert len(json.loads(result.stdout)["predictions"]) == 20
    else:
        assert len(result.stdout.splitlines()) == 8


def test_predict_takes_the_photos_of_a_folder_in_natural_order(folder: Path) -> None:
    for name in (".hidden.png", "notes.txt", "Thumbs.db"):
        (folder / name).write_bytes(b"no photo")
    (folder / "no ending").write_bytes((folder / "1.png").read_bytes())
    (folder / "below").mkdir()

    with scripted(answers_photos()) as api:
        result = run(api, "predict", str(folder))

    assert result.exit_code == 0
    names = [line.partition(":")[0] for line in result.stdout.splitlines()]
    assert names == [*(f"{number}.png" for number in range(1, 21)), "no ending"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("*.png", "no file matches"),
        ("missing.png", "there is no file"),
        ("empty", "holds no photo"),
    ],
)
def test_predict_of_nothing_is_misuse(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()

    with scripted(answers_photos()) as api:
        result = run(api, "predict", str(tmp_path / name))

    assert (result.exit_code, api.seen) == (2, [])
    assert words in " ".join(result.stderr.split())


def test_photo_whose_name_is_no_utf8_is_answered(folder: Path) -> None:
    odd = os.fsencode(folder) + b"/m\xfcller.png"
    Path(os.fsdecode(odd)).write_bytes((folder / "1.png").read_bytes())

    with scripted(answers_photos()) as api:
        result = run(api, "predict", os.fsdecode(odd), str(folder / "1.png"), "--json")

    names = [entry["name"] for entry in json.loads(result.stdout)["predictions"]]
    assert names == ["m?ller.png", "1.png"]
    assert (
        r"m\udcfcller.png is not UTF-8: it is answered as m?ller.png" in result.stderr
    )


def test_progress_of_predict_is_for_terminals(folder: Path) -> None:
    with scripted(
        answers_photos(lambda it: refuses(500) if "9.png" in it else None)
    ) as api:
        command = [sys.executable, "-m", "kennel.cli", "predict", str(folder)]
        leader, follower = pty.openpty()
        done = subprocess.run(
            [*command, "--url", api.url],
            stdout=subprocess.PIPE,
            stderr=follower,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
            check=False,
        )
        os.close(follower)
        shown = os.read(leader, 65_536).decode()
        os.close(leader)

    assert "20/20" in shown
    assert "9.png: it is so" in shown
    # Results that are redirected stay out of the terminal.
    assert len(done.stdout.splitlines()) == 19
    assert "dog (" not in shown


def test_key_comes_from_the_environment_or_the_option(photos: list[str]) -> None:
    with scripted(refuses(401)) as api:
        first = run(api, "predict", photos[0], KENNEL_API_KEY="secret-1")
        run(api, "jobs", "list", "--key", "secret-2")

    assert first.exit_code == 1
    assert first.stderr == "kennel: it is so (set KENNEL_API_KEY, or use --key)\n"
    keys = [each.headers["Authorization"] for each in api.seen]
    assert keys == ["Bearer secret-1", "Bearer secret-2"]


def test_model_that_was_exported_just_now_is_waited_for(
    photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kennel.commands.predict._PAUSE_SECONDS", 0.0)
    listed: tuple[list[Any], ...] = ([], [{"version": 1, "state": "LOADING"}])
    answer: dict[str, Any] = {**ANSWER, "predictions": ANSWER["predictions"][:1]}  # type: ignore[index]
    loading = [says({"name": "pets", "versions": each}) for each in listed]
    loaded = says({"name": "pets", "versions": [{"version": 1, "state": "AVAILABLE"}]})
    with scripted(*loading, loaded, says(answer)) as api:
        result = run(api, "predict", photos[0], "--model", "pets")

    assert [each.method for each in api.seen] == ["GET"] * 3 + ["POST"]
    assert "Model pets is being loaded: waiting" in result.stderr
    assert result.exit_code == 0
