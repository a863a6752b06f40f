"""kennel predict, submit and jobs: what they print, and how they end."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kennel.cli import main
from models.backoff import Backoff
from tests.kennel.scripted_api import (
    ScriptedApi,
    Step,
    answers_photos,
    breaks_off,
    refuses,
    says,
    scripted,
)
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "photos", 20)
    return tmp_path / "photos"


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


def test_upload_whose_name_is_no_utf8_is_sent(folder: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe4r"))
    folder.rename(odd)
    odd_list = odd / odd.with_suffix(".csv").name
    odd_list.write_text("file\n1.png\n")
    target = str(tmp_path / "s.csv")

    words = ("submit", "--upload", str(odd), "-o", target)
    with scripted(says(JOB, 202), says(JOB), says(ROWS)) as api:
        alone = run(api, *words)
        path = api.seen[0].path
        api.seen.clear()
        listed = run(api, *words, "--manifest", str(odd_list))

    assert (alone.exit_code, listed.exit_code) == (0, 0)
    assert path.startswith("/v1/jobs?input=b%3Fr&")
    assert b'filename="b?r.csv"' in api.seen[0].body


@pytest.mark.parametrize(
    "arguments",
    [
        *(("jobs", "show", "\udcfc"), ("jobs", "delete", "\udcfc")),
        *(("submit", "x", "--model", "\udcfc"), ("submit", "\udcfc")),
        ("predict", "1.png", "--model", "\udcfc"),
    ],
)
def test_argument_that_is_no_utf8_is_no_traceback(
    arguments: tuple[str, ...], photos: list[str]
) -> None:
    given = [photos[0] if each == "1.png" else each for each in arguments]
    with scripted(refuses(422)) as api:
        result = run(api, *given)

    assert result.exit_code in {1, 2}
    assert isinstance(result.exception, SystemExit)


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


def test_submit_names_a_folder_of_the_service(tmp_path: Path) -> None:
    csv = says(b"id,label\n1,0.5\n")
    more = ("--max-unreadable", "5%")
    target = tmp_path / "s.csv"
    with scripted(says(JOB, 202), says(JOB), csv) as api:
        result = run(api, "submit", "test", "-o", str(target), "--clip", "off", *more)

    assert (result.exit_code, result.stdout) == (0, f"{target}\n")
    assert "1 image could not be read" in result.stderr
    assert target.read_text() == "id,label\n1,0.5\n"
    assert json.loads(api.seen[0].body) == {
        "input": "test",
        "clip": "off",
        "on_unreadable": "prior",
        "max_unreadable": "5%",
        "priority": "normal",
    }


def test_submit_asks_for_labels(tmp_path: Path) -> None:
    with scripted(says(JOB, 202), says(JOB), says(b"id,label\n1,dog\n")) as api:
        target = str(tmp_path / "s.csv")
        result = run(api, "submit", "test", "-o", target, "--format", "label")

    assert result.exit_code == 0
    assert json.loads(api.seen[0].body)["format"] == "label"


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
    assert "not sent" not in result.stderr


def test_files_that_an_upload_leaves_out_are_named(
    photos: list[str], tmp_path: Path
) -> None:
    folder = Path(photos[0]).parent
    (folder / "notes.txt").touch()
    (folder / "more").mkdir()
    with scripted(says(JOB, 202), says(JOB), says(ROWS)) as api:
        target = str(tmp_path / "s.csv")
        result = run(api, "submit", "--upload", str(folder), "-o", target)

    assert "not sent: 'more', 'notes.txt' (a job takes the photos" in result.stderr


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
        (("delete", "j1", "j2"), b"", "j1  deleted\nj2  deleted\n"),
        (("show", "j1"), JOB, "  7.png: damaged\n"),
        (("show", "j1"), JOB, "model   pets version 1\n"),
        (("show", "j1"), {**JOB, "label": "canary"}, "version 1, label canary\n"),
        (("show", "j1"), {**JOB, "waiting": "no model"}, "waits   no model\n"),
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


RUNNING = {
    **JOB,
    "id": "3f9c",
    "state": "running",
    "label": "canary",
    "format": "kaggle-binary",
    "positive": "dog",
    "clip": None,
    "priority": "high",
    "created": "2026-11-21T09:30:00+00:00",
    "finished": None,
    "images_per_second": 31.52,
    "eta_seconds": 4000.0,
    "waiting": "the model is away",
    "progress": {"done": 5120, "total": 12500, "unreadable": 0},
}


def test_jobs_are_listed_under_headings() -> None:
    jobs = {"jobs": [RUNNING, {**JOB, "input": "a\x1b[2Jb"}]}
    with scripted(says(jobs)) as api:
        result = run(api, "jobs", "list", TZ="UTC")

    assert result.stdout.splitlines() == [
        "job   submitted            state      images      images/s  left       "
        "model            CSV                                input        remarks",
        "3f9c  2026-11-21 09:30:00  running    5120/12500  31.5      1 h 7 min  "
        "pets 1 (canary)  kaggle-binary: probability of dog  test         "
        "waits: the model is away",
        "j1    -                    succeeded  3/3         -         -          "
        "pets 1           -                                  'a\\x1b[2Jb'  "
        "1 unreadable",
    ]


def test_list_without_jobs_says_so() -> None:
    with scripted(says({"jobs": []})) as api:
        every, failed = (
            run(api, "jobs", "list"),
            run(api, "jobs", "list", "--state=failed"),
        )
        scripts = run(api, "jobs", "list", "--json")

    assert (every.stdout, failed.stderr) == ("", "kennel: no failed jobs\n")
    assert "kennel submit" in every.stderr
    assert scripts.stdout == "[]\n"


def test_job_is_shown_with_all_that_its_list_has() -> None:
    with scripted(says(RUNNING)) as api:
        result = run(api, "jobs", "show", "3f9c", TZ="UTC")

    assert result.stdout.splitlines() == [
        "job        3f9c",
        "state      running",
        "submitted  2026-11-21 09:30:00",
        "input      test",
        "images     5120/12500 done, 0 unreadable",
        "images/s   31.5",
        "time left  1 h 7 min",
        "model      pets version 1, label canary",
        "CSV        kaggle-binary: probability of dog",
        "clip       off",
        "priority   high",
        "waits      the model is away",
        "  7.png: damaged",
    ]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "label: names"),
        (["cow", "dog"], "label: numbers (0 cow, 1 dog)"),
        ([f"c{n}" for n in range(11)], "8 c8, 9 c9, ...)"),
    ],
)
def test_what_a_csv_of_labels_has_is_said(
    labels: list[str] | None, words: str, tmp_path: Path
) -> None:
    job = {**JOB, "format": "label", "label_numbers": labels, "ignored": 2}
    with scripted(says(job), says(ROWS), says(job)) as api:
        fetched = run(api, "jobs", "csv", "j1", "-o", str(tmp_path / "s.csv"))
        shown = run(api, "jobs", "show", "j1")

    assert words in fetched.stderr
    assert "1 image could not be read and got the model's first label" in fetched.stderr
    assert "left out 2 files and folders (a job takes the photos" in fetched.stderr
    assert words in shown.stdout
    assert "left out  2" in shown.stdout


def job_with(state: str, **more: Any) -> dict[str, Any]:
    return {**JOB, "state": state, **more}


ROWS = b"id,label\n1,0.5\n"


@pytest.mark.parametrize("command", ["wait", "csv"])
def test_csv_of_a_job_can_be_fetched_later(tmp_path: Path, command: str) -> None:
    target = tmp_path / "s.csv"
    with scripted(says(JOB), *([says(JOB)] * (command == "wait")), says(ROWS)) as api:
        result = run(api, "jobs", command, "j1", "-o", str(target))

    assert (result.exit_code, result.stdout) == (0, f"{target}\n")
    assert target.read_bytes() == ROWS
    assert "Job j1: 3 images by pets version 1" in result.stderr
    assert "1 image could not be read" in result.stderr


def test_csv_goes_to_stdout_or_to_what_is_no_file() -> None:
    with scripted(says(JOB), says(ROWS)) as api:
        to_stdout = run(api, "jobs", "csv", "j1")
        api.seen.clear()
        to_device = run(api, "jobs", "csv", "j1", "-o", "/dev/null")

    assert to_stdout.stdout_bytes == ROWS
    assert to_device.exit_code == 0
    assert Path("/dev/null").is_char_device()


def test_page_in_the_place_of_the_csv_is_not_written(tmp_path: Path) -> None:
    page = says(b"<html><title>Sign in</title></html>", Content_Type="text/html")
    with scripted(says(JOB), page) as api:
        result = run(api, "jobs", "csv", "j1", "-o", str(tmp_path / "s.csv"))

    assert result.exit_code == 1
    assert "it answered a page called 'Sign in'" in result.stderr
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (job_with("running"), "3 of 3 images are done: kennel jobs wait j1 -o"),
        (job_with("queued"), "is queued"),
        (job_with("failed", error="no disk"), "failed (no disk), without a CSV"),
        (job_with("cancelled"), "kennel jobs retry j1"),
    ],
)
def test_csv_that_is_not_there_says_how_to_get_it(job: Any, words: str) -> None:
    with scripted(says(job)) as api:
        result = run(api, "jobs", "csv", "j1")

    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr


@pytest.mark.parametrize(("state", "status"), [("succeeded", 0), ("failed", 1)])
def test_waiting_ends_as_the_job_does(state: str, status: int) -> None:
    with scripted(says(job_with("running")), says(job_with(state))) as api:
        result = run(api, "jobs", "wait", "j1")

    assert result.exit_code == status
    assert ("j1  succeeded  3/3" in result.stdout) == (status == 0)


@pytest.mark.parametrize("command", ["submit", "wait", "csv"])
@pytest.mark.parametrize("where", ["missing/s.csv", "."])
def test_csv_without_a_place_is_refused_before_any_work(
    tmp_path: Path, command: str, where: str
) -> None:
    words = ["submit"] if command == "submit" else ["jobs", command]
    with scripted(says(JOB)) as api:
        result = run(api, *words, "test", "-o", str(tmp_path / where))

    assert (result.exit_code, api.seen) == (2, [])


NO_SUCH_JOB = refuses(404, "job_not_found")


@pytest.mark.parametrize(
    ("command", "answer", "asked"),
    [
        ("show", says({**JOB, "id": "3f9c"}), "GET /v1/jobs/3f9c"),
        ("wait", says({**JOB, "id": "3f9c"}), "GET /v1/jobs/3f9c"),
        ("cancel", says({**JOB, "id": "3f9c"}), "POST /v1/jobs/3f9c/cancel"),
        ("retry", says({**JOB, "id": "3f9c"}), "POST /v1/jobs/3f9c/retry"),
        ("delete", says(b"", 204), "DELETE /v1/jobs/3f9c"),
    ],
)
def test_beginning_of_an_id_stands_for_its_job(
    command: str, answer: Step, asked: str
) -> None:
    listed = says({"jobs": [RUNNING]})
    with scripted(NO_SUCH_JOB, listed, answer) as api:
        result = run(api, "jobs", command, "3f")

    assert result.exit_code == 0
    assert api.seen[1].path == "/v1/jobs?limit=11&prefix=3f"
    assert f"{api.seen[2].method} {api.seen[2].path}" == asked
    assert "3f9c" in result.stdout


def test_beginning_of_several_ids_lists_them() -> None:
    found = [{**RUNNING, "id": f"3f{number:02}"} for number in range(11)]
    with scripted(NO_SUCH_JOB, says({"jobs": found}), NO_SUCH_JOB) as api:
        several = run(api, "jobs", "cancel", "3f")
        api.seen.clear()
        api.steps[1] = says({"jobs": []})
        none = run(api, "jobs", "cancel", "4")

    assert (several.exit_code, none.exit_code) == (1, 1)
    assert "\n  3f00  running  test\n" in several.stderr
    assert several.stderr.endswith("3f09  running  test\n  and more\n")
    assert "no job whose id is or begins with '4'" in none.stderr


def test_job_that_cannot_be_deleted_keeps_no_other() -> None:
    done = says(b"", 204, Content_Type="text/html; charset=utf-8")
    steps = [done, refuses(409), done]
    with scripted(*steps) as api:
        result = run(api, "jobs", "delete", "j1", "j2", "j3")

    assert (result.exit_code, result.stdout) == (1, "j1  deleted\nj3  deleted\n")
    assert result.stderr == "kennel: it is so\n"


def interrupted(
    number: int, is_ready: Callable[[], bool], *arguments: str
) -> tuple[int, str, str]:
    """How kennel ends that gets a signal when it is ready: status, stdout, stderr."""
    command = [sys.executable, "-m", "kennel.cli", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        give_up = time.monotonic() + 20
        while not is_ready() and time.monotonic() < give_up:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
@pytest.mark.parametrize("words", [("submit", "test"), ("jobs", "wait", "j1")])
def test_interrupted_command_says_how_to_come_back(
    tmp_path: Path, words: tuple[str, ...], number: int, status: int
) -> None:
    target = tmp_path / "my results.csv"
    with scripted(says(job_with("running"))) as api:
        more = ("-o", str(target), "--url", api.url)
        ended = interrupted(number, lambda: len(api.seen) > 1, *words, *more)

    code, out, err = ended
    assert (code, out) == (status, "")
    tail = f"-o '{target}' --url {api.url}\n"
    assert f"  kennel jobs wait j1 {tail}  kennel jobs csv j1 {tail}" in err
    assert f"  kennel jobs cancel j1 --url {api.url}\n" in err
    assert not any(each.path.endswith("/cancel") for each in api.seen)


def test_interrupted_upload_says_that_no_job_was_started(tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    with archive.open("wb") as stream:
        stream.truncate(64 * 1024 * 1024)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        server.settimeout(20)
        taken: list[socket.socket] = []

        def takes_some() -> bool:
            taken.append(server.accept()[0])
            return bool(taken[0].recv(1000))

        words = ("submit", "--upload", str(archive), "--url", url)
        ended = interrupted(signal.SIGINT, takes_some, *words)
        taken[0].close()

    assert ended[0] == 130
    assert "The upload did not end: no job was started" in ended[2]


def test_lost_connection_says_how_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kennel.client.client.AWAY_SECONDS", 0.0)
    target = tmp_path / "s.csv"
    with scripted(says(JOB, 202), breaks_off) as api:
        result = run(api, "submit", "test", "-o", str(target))

    assert result.exit_code == 1
    assert "broke off" in result.stderr
    assert f"  kennel jobs wait j1 -o {target}\n" in result.stderr


def test_submit_that_certainly_started_nothing_promises_no_job() -> None:
    with scripted(refuses(422)) as api:
        refused = run(api, "submit", "test")
    unheard = run(ScriptedApi([], url="http://127.0.0.1:1"), "submit", "test")

    assert refused.stderr == "kennel: it is so\n"
    assert "start it with 'kennel up'" in unheard.stderr
    assert "jobs list" not in unheard.stderr


TALKS = [
    ("predict", "PHOTO"),
    ("submit", "test"),
    ("submit", "--upload", "FOLDER"),
    ("jobs", "list"),
    *(("jobs", each, "j1") for each in ("show", "wait", "csv", "report")),
    *(("jobs", each, "j1") for each in ("cancel", "retry", "delete")),
]


def cuts_off(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"jobs": [')
    handler.close_connection = True


@pytest.mark.parametrize("arguments", TALKS, ids=" ".join)
def test_no_answer_of_the_api_gives_a_traceback(
    arguments: tuple[str, ...], photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kennel.client.client.AWAY_SECONDS", 0.0)
    monkeypatch.setattr("kennel.client.transport.BACKOFF", Backoff(0.0, 0.0))
    places = {"PHOTO": photos[0], "FOLDER": str(Path(photos[0]).parent)}
    given = [places.get(each, each) for each in arguments]
    page = b"<html><title>Sign in</title></html>"
    steps = [refuses(401), refuses(404), says(page), says(page, 502), says(b"", 302)]
    for step in [*steps, says([]), says({}), says(b"{"), breaks_off, cuts_off]:
        with scripted(step) as api:
            result = run(api, *given)

        assert (result.exit_code, result.stdout) == (1, "")
        assert isinstance(result.exception, SystemExit)
        assert "kennel: " in result.stderr or result.stderr.startswith("1.png: ")


@pytest.mark.parametrize(
    "command",
    ["list", "show", "wait", "csv", "report", "cancel", "retry", "delete"],
)
def test_every_jobs_command_explains_itself_with_an_example(command: str) -> None:
    result = CliRunner().invoke(main, ["jobs", command, "--help"])

    assert f"kennel jobs {command}" in " ".join(result.output.split())


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
    "ignored": 1,
    "ignored_files": ["readme.md"],
}


def test_report_of_a_job_is_told_in_words() -> None:
    with scripted(says({**REPORT, **SINCE_2})) as api:
        result = run(api, "jobs", "report", "j1")

    assert result.stdout.splitlines() == [
        "j1: test by pets version 1, kaggle-binary",
        "  clip 0.95, 3 images",
        "  2 s, 1.5 images/s, after 0.5 s in the queue",
        "  1 shards in 1.5 s of work, the slowest 1.5 s; 3 attempts, 1 broke off",
        "  likeliest: cat 0, dog 2",
        "  CSV SHA-256 9f86",
        "  1 unreadable",
        "    7.png: damaged",
        "  1 files and folders left out",
        "    readme.md",
    ]
    assert api.seen[0].path == "/v1/jobs/j1/report"


def test_report_of_an_older_kennel_is_told_without_what_it_lacks() -> None:
    with scripted(says(REPORT)) as api:
        result = run(api, "jobs", "report", "j1")

    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 7)


def test_report_is_printed_as_the_api_answers_it() -> None:
    with scripted(says(REPORT)) as api:
        result = run(api, "jobs", "report", "j1", "--json")

    assert json.loads(result.stdout) == REPORT


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
