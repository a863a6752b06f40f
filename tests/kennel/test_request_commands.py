"""kennel predict, submit and jobs: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kennel.cli import main
from tests.kennel.scripted_api import ScriptedApi, refuses, says, scripted
from tests.pictures import write_folder

JOB = {
    "id": "j1",
    "state": "succeeded",
    "model": "pets",
    "version": 1,
    "input": "test",
    "error": None,
    "unreadable_files": [{"file": "7.png", "detail": "damaged"}],
    "progress": {"done": 3, "total": 3, "unreadable": 1},
}
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


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    write_folder(tmp_path, 2)
    return [str(tmp_path / "1.png"), str(tmp_path / "2.png")]


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


def test_predict_succeeds_if_every_photo_was_used(photos: list[str]) -> None:
    good: dict[str, Any] = {**ANSWER, "predictions": ANSWER["predictions"][:1]}  # type: ignore[index]
    with scripted(says(good)) as api:
        result = run(api, "predict", photos[0], "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == good


def test_key_comes_from_the_environment_or_the_option(photos: list[str]) -> None:
    with scripted(refuses(401)) as api:
        first = run(api, "predict", photos[0], KENNEL_API_KEY="secret-1")
        run(api, "jobs", "list", "--key", "secret-2")

    assert first.exit_code == 1
    assert first.stderr == "kennel: it is so (set KENNEL_API_KEY, or use --key)\n"
    keys = [each.headers["Authorization"] for each in api.seen]
    assert keys == ["Bearer secret-1", "Bearer secret-2"]


def test_submit_names_a_folder_of_the_service(tmp_path: Path) -> None:
    csv = says(b"id,label\n1,0.5\n")
    more = ("--max-unreadable", "5%")
    target = tmp_path / "s.csv"
    with scripted(says(JOB, 202), says(JOB), csv) as api:
        result = run(api, "submit", "test", "-o", str(target), "--clip", "off", *more)

    assert (result.exit_code, result.stdout) == (0, f"{target}\n")
    assert "1 images could not be read" in result.stderr
    assert target.read_text() == "id,label\n1,0.5\n"
    assert json.loads(api.seen[0].body) == {
        "input": "test",
        "clip": "off",
        "on_unreadable": "prior",
        "max_unreadable": "5%",
        "priority": "normal",
    }


def test_submit_says_what_answers(tmp_path: Path) -> None:
    answers = {"label": "canary", "positive": "dog", "format": "kaggle-binary"}
    job = {**JOB, **answers}
    arguments = ("submit", "test", "-o", str(tmp_path / "s.csv"))
    with scripted(says(job, 202), says(job), says(b"id,label\n")) as api:
        default = run(api, *arguments)
        api.seen.clear()
        named = run(api, *arguments, "--model", "pets")

    words = (
        "3 images by pets version 1, label canary, kaggle-binary: probability of dog"
    )
    assert f"Job j1: {words} (the default model" in default.stderr
    assert f"Job j1: {words}\n" in named.stderr


def test_submit_uploads_a_folder_from_here(photos: list[str], tmp_path: Path) -> None:
    with scripted(says(JOB, 202), says(JOB), says(b"id,label\n")) as api:
        folder, target = str(Path(photos[0]).parent), str(tmp_path / "s.csv")
        result = run(api, "submit", "--upload", folder, "-o", target)

    assert result.exit_code == 0
    assert api.seen[0].headers["Content-Type"] == "application/x-tar"


def test_submit_of_a_job_that_fails_says_why(tmp_path: Path) -> None:
    failed = {**JOB, "state": "failed", "error": "no disk"}
    with scripted(says(JOB, 202), says(failed)) as api:
        result = run(api, "submit", "test", "-o", str(tmp_path / "s.csv"))

    assert result.exit_code == 1
    assert result.stderr.endswith("kennel: job j1 failed: no disk\n")
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "answer", "words"),
    [
        (("list",), {"jobs": [JOB]}, "j1  succeeded  3/3  pets 1  test\n"),
        (("delete", "j1", "j2"), b"", "j1  deleted\nj2  deleted\n"),
        (("show", "j1"), JOB, "  7.png: damaged\n"),
        (("show", "j1"), JOB, "  by pets version 1\n"),
        (("show", "j1"), {**JOB, "label": "canary"}, "version 1, label canary\n"),
        (("show", "j1"), {**JOB, "waiting": "no model"}, "  waits: no model\n"),
        (("cancel", "j1"), JOB, "j1  succeeded"),
        (("retry", "j1"), JOB, "j1  succeeded"),
    ],
)
def test_jobs_are_listed_shown_cancelled_and_retried(
    arguments: tuple[str, ...], answer: Any, words: str
) -> None:
    with scripted(says(answer)) as api:
        result = run(api, "jobs", *arguments)

    assert result.exit_code == 0
    assert words in result.stdout


def test_job_is_shown_as_the_api_tells_it() -> None:
    with scripted(says(JOB)) as api:
        result = run(api, "jobs", "show", "j1", "--json")

    assert json.loads(result.stdout) == JOB


def test_submit_sends_csv_files_from_here(tmp_path: Path) -> None:
    sample, listing = tmp_path / "sample.csv", tmp_path / "list.csv"
    sample.write_bytes(b"id,label\r\n1,0\r\n")
    listing.write_bytes(b"file\n1.png\n")
    csv_files = ("--sample", str(sample), "--manifest", str(listing))
    with scripted(says(JOB, 202), says(JOB), says(b"id,label\n")) as api:
        result = run(api, "submit", "test", *csv_files, "-o", str(tmp_path / "s.csv"))

    sent = api.seen[0]
    assert result.exit_code == 0
    assert sent.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert b'name="input"\r\n\r\ntest\r\n' in sent.body
    assert b"\r\n\r\nid,label\r\n1,0\r\n\r\n--" in sent.body
    assert b'name="manifest"; filename="list.csv"\r\n' in sent.body
    assert b"format" not in sent.body


REPORT = {
    "job": "j1",
    "input": "test",
    "model": "pets",
    "version": 1,
    "clip": 0.95,
    "format": "kaggle-binary",
    "images": 3,
    "seconds": 2.0,
    "ignored": 0,
    "images_per_second": 1.5,
    "unreadable": 1,
    "csv_sha256": "9f86",
    "unreadable_files": [{"file": "7.png", "detail": "damaged"}],
}
SINCE_2 = {
    "queued_seconds": 0.5,
    "shards": {"count": 1, "seconds": 1.5, "slowest": 0, "slowest_seconds": 1.5},
    "attempts": {"begun": 3, "broken_off": 1},
    "predicted": {"cat": 0, "dog": 2},
}


def test_report_of_a_job_is_told_in_words() -> None:
    with scripted(says({**REPORT, **SINCE_2})) as api:
        result = run(api, "jobs", "report", "j1")

    assert result.stdout.splitlines() == [
        "j1: test by pets version 1",
        "  kaggle-binary, clip 0.95, 3 images",
        "  2 s, 1.5 images/s, after 0.5 s in the queue",
        "  1 shards in 1.5 s of work, the slowest 1.5 s; 3 attempts, 1 broke off",
        "  likeliest: cat 0, dog 2",
        "  CSV SHA-256 9f86",
        "  1 unreadable, 0 files left out",
        "    7.png: damaged",
    ]
    assert api.seen[0].path == "/v1/jobs/j1/report"


def test_report_of_an_older_kennel_is_told_without_what_it_lacks() -> None:
    with scripted(says(REPORT)) as api:
        result = run(api, "jobs", "report", "j1")

    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 6)


def test_report_is_printed_as_the_api_answers_it() -> None:
    with scripted(says(REPORT)) as api:
        result = run(api, "jobs", "report", "j1", "--json")

    assert json.loads(result.stdout) == REPORT
