"""`kennel submit` and `kennel jobs`: output and exit codes."""

from __future__ import annotations

import json
import os
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
    breaks_off,
    refuses,
    says,
    scripted,
)

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


def run(api: ScriptedApi, *arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"KENNEL_URL": api.url, **env})


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
    monkeypatch.setattr("kennel.client.transport.RETRY_BACKOFF", Backoff(0.0, 0.0))
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
