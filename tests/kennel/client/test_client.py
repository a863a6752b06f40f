"""The client: its retries, deadlines and errors."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kennel.client import Client
from kennel.client.errors import (
    ApiAccessError,
    ApiBusyError,
    ApiError,
    ApiTimeoutError,
    ApiUnreachableError,
    JobFailedError,
)
from models.errors import InvalidRequestError
from tests.kennel.scripted_api import (
    Step,
    answers_photos,
    breaks_off,
    hangs,
    refuses,
    says,
    scripted,
    sent_names,
    trickles,
)
from tests.pictures import write_folder
from tests.processes import free_port

JOB = {
    "id": "j1",
    "state": "queued",
    "model": "pets",
    "version": 1,
    "input": "test",
    "error": None,
    "unreadable_files": [],
    "more": "than we know",
    "progress": {"done": 0, "total": 3, "unreadable": 0},
}
MODELS = says({"models": [{"name": "pets", "versions": []}]})


def prediction(*names: str, version: int = 3) -> dict[str, Any]:
    values = {"cat": 0.25, "dog": 0.75}
    entries = [
        {"name": name, "label": "dog", "probabilities": values, "raw": values}
        for name in names
    ]
    labels = ["cat", "dog"]
    return {"model": "p", "version": version, "labels": labels, "predictions": entries}


Ask = Callable[[Client], Any]
GET: Ask = lambda client: client.models()  # noqa: E731
PREDICT: Ask = lambda client: client.predict(b"x")  # noqa: E731
SUBMIT: Ask = lambda client: client.submit("test")  # noqa: E731
JOBS: Ask = lambda client: client.jobs()  # noqa: E731
REPORT: Ask = lambda client: client.report("j1")  # noqa: E731
ROLLOUT: Ask = lambda client: client.rollout("pets")  # noqa: E731
VERSION: Ask = lambda client: client.version()  # noqa: E731
CANCEL: Ask = lambda client: client.cancel("j1")  # noqa: E731
GOOD = {GET: MODELS, PREDICT: says(prediction("image-1")), SUBMIT: says(JOB, 202)}
NAMES = ["get", "predict", "submit"]


@pytest.mark.parametrize("ask", GOOD, ids=NAMES)
@pytest.mark.parametrize(
    "trouble",
    [breaks_off, *(refuses(status) for status in (429, 502, 503, 504))],
    ids=["reset", "429", "502", "503", "504"],
)
def test_safe_call_is_repeated_until_it_succeeds(ask: Ask, trouble: Step) -> None:
    with scripted(trouble, GOOD[ask]) as api, Client(api.url) as client:
        ask(client)

    assert len(api.seen) == 2
    assert len({each.body for each in api.seen}) == 1


@pytest.mark.parametrize("trouble", [breaks_off, refuses(503)], ids=["reset", "503"])
def test_call_that_may_have_been_done_is_not_repeated(trouble: Step) -> None:
    with scripted(trouble) as api, Client(api.url) as client, pytest.raises(ApiError):
        client.cancel("j1")

    assert len(api.seen) == 1


def test_readiness_is_that_of_the_moment() -> None:
    with (
        scripted(refuses(503), says({"status": "ready"})) as api,
        Client(api.url) as client,
    ):
        with pytest.raises(ApiBusyError):
            client.readiness()
        assert client.readiness() == {"status": "ready"}


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 500, 507])
@pytest.mark.parametrize("ask", GOOD, ids=NAMES)
def test_refused_call_is_not_repeated(ask: Ask, status: int) -> None:
    with (
        scripted(refuses(status)) as api,
        Client(api.url) as client,
        pytest.raises(ApiError) as refused,
    ):
        ask(client)

    error = refused.value
    assert (error.status, error.code, error.request_id) == (status, "some_code", "r-1")
    assert str(error) == "it is so"
    assert len(api.seen) == 1


def test_patience_ends_after_the_retries() -> None:
    with (
        scripted(refuses(503)) as api,
        Client(api.url, retries=2) as client,
        pytest.raises(ApiBusyError),
    ):
        client.models()

    assert len(api.seen) == 3


def test_retry_after_is_waited_for() -> None:
    with scripted(refuses(429, Retry_After="1"), MODELS) as api, Client(api.url) as it:
        began = time.monotonic()
        it.models()

    assert 1 <= time.monotonic() - began < 5


def test_retry_after_beyond_the_clients_time_is_told_at_once() -> None:
    with (
        scripted(refuses(429, Retry_After="3600")) as api,
        Client(api.url) as client,
        pytest.raises(ApiBusyError) as refused,
    ):
        client.models()

    assert refused.value.retry_after_seconds == 3600
    assert len(api.seen) == 1


@pytest.mark.parametrize("trouble", [hangs, trickles])
def test_answer_that_does_not_come_ends_in_time(trouble: Step) -> None:
    began = time.monotonic()
    with (
        scripted(trouble) as api,
        Client(api.url, timeout_seconds=0.3) as client,
        pytest.raises(ApiTimeoutError, match=r"within 0\.3 s"),
    ):
        client.models()

    assert time.monotonic() - began < 5
    assert len(api.seen) == 1


def test_api_that_is_not_there_is_told_with_the_remedy() -> None:
    client = Client(f"http://127.0.0.1:{free_port()}", retries=1)

    with pytest.raises(ApiUnreachableError, match="start it with 'kennel up'") as error:
        client.cancel("j1")

    assert (error.value.status, error.value.sent) == (0, False)


def test_connection_that_broke_off_may_have_been_heard() -> None:
    with (
        scripted(breaks_off) as api,
        Client(api.url, retries=0) as client,
        pytest.raises(ApiUnreachableError, match="broke off") as broken,
    ):
        client.retry("j1")

    assert broken.value.sent


def test_missing_key_is_told_with_the_variable() -> None:
    with (
        scripted(refuses(401)) as api,
        Client(api.url) as client,
        pytest.raises(ApiAccessError, match="set KENNEL_API_KEY"),
    ):
        client.jobs()

    assert "Authorization" not in api.seen[0].headers


def test_key_is_sent_and_stays_with_its_api() -> None:
    elsewhere = says(b"", 302, Location="http://127.0.0.1:1/")
    with scripted(MODELS, elsewhere) as api, Client(api.url, api_key="k-1") as client:
        client.models()
        with pytest.raises(ApiError, match="answered 302"):
            client.models()

    assert api.seen[0].headers["Authorization"] == "Bearer k-1"


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:8000", "ftp://x", "http://", "http://a b"),
        *("http://[::1", "http://host:99999", "http://:80", "http://a..b"),
        "http://127.0.0.1:abc",
    ],
)
def test_impossible_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="use http://"):
        Client(url).models()


def test_impossible_key_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no key has"):
        Client("http://127.0.0.1:1", api_key="a\r\nb")


def test_answer_that_is_no_problem_is_shown() -> None:
    with (
        scripted(says(b"<html>Bad Gateway", 502)) as api,
        Client(api.url, retries=0) as client,
        pytest.raises(ApiBusyError, match="answered 502"),
    ):
        client.models()
    assert api.seen


def test_another_server_is_told_from_the_api() -> None:
    with (
        scripted(says(b"<html>It works!")) as api,
        Client(api.url) as client,
        pytest.raises(ApiError, match="is no Kennel API: it answered"),
    ):
        client.models()
    assert len(api.seen) == 1


def test_many_images_go_in_groups_to_one_version(tmp_path: Path) -> None:
    write_folder(tmp_path, 20)
    files = [tmp_path / f"{number}.png" for number in range(1, 21)]
    names = [file.name for file in files]

    with scripted(answers_photos()) as api, Client(api.url) as client:
        answer = client.predict(files, label="canary", clip="off", model="a b")
        client.predict(files)

    assert [each.name for each in answer.predictions] == names
    assert [len(sent_names(each)) for each in api.seen] == [8, 8, 4] * 2
    assert api.seen[0].path == "/v1/predict?label=canary&clip=off&model=a+b"
    assert "version=3" in api.seen[1].path
    assert "label" not in api.seen[2].path
    # Another model could be the default before all are answered.
    assert api.seen[4].path == "/v1/predict?model=pets&version=3"


@pytest.mark.parametrize(
    ("trouble", "sizes"),
    [
        (refuses(504), [8, 4, 2, 2, 2, 2, 2, 2]),
        (hangs, [8, 4, 2, 2, 2, 2, 2, 2]),
        (refuses(413, "too_many_images"), [8, 4, 2, 2, 2, 2, 2, 2]),
        # Neither slow nor too many: the next group is whole again.
        (refuses(500), [8, 4, 2, 2, 4, 2, 2, 4, 2, 2]),
    ],
    ids=["504", "silence", "413", "500"],
)
def test_group_that_fails_is_sent_in_smaller_ones(
    trouble: Step, sizes: list[int]
) -> None:
    with (
        scripted(answers_photos(lambda it: trouble if len(it) > 2 else None)) as api,
        Client(api.url, timeout_seconds=0.5) as client,
    ):
        answer = client.predict([b"x"] * 12)

    names = [each.name for each in answer.predictions]
    assert names == [f"image-{number}" for number in range(1, 13)]
    assert [len(sent_names(each)) for each in api.seen] == sizes


def test_groups_grow_again_when_the_api_is_fast_again() -> None:
    slow = iter([refuses(504)] * 3)
    with (
        scripted(answers_photos(lambda _: next(slow, None))) as api,
        Client(api.url) as client,
    ):
        client.predict([b"x"] * 140)

    sizes = [len(sent_names(each)) for each in api.seen]
    assert sizes[:5] == [8, 4, 2, 1, 1]
    assert sizes[-2] == 8


def test_request_that_fails_loses_no_other_answer(tmp_path: Path) -> None:
    def trouble(names: list[str]) -> Step | None:
        return refuses(503, "model_not_ready") if "image-9" in names else None

    images: list[Path | bytes] = [tmp_path / "missing.png", *[b"x"] * 20]
    with (
        scripted(answers_photos(trouble)) as api,
        Client(api.url, retries=0) as client,
    ):
        answers = list(client.predict_each(images))

    entries = [entry for answer in answers for entry in answer.predictions]
    codes = [each.error.code if each.error else "" for each in entries]
    # Eight are in the first request, image-2 to image-9.
    assert codes == ["unreadable_file", *["model_not_ready"] * 8, *[""] * 12]


def test_answers_come_as_they_are_there_and_few_images_are_in_memory() -> None:
    read = []

    def images() -> Iterator[bytes]:
        for number in range(1000):
            read.append(number)
            yield b"x"

    with scripted(answers_photos()) as api, Client(api.url) as client:
        answers = client.predict_each(images())
        first = next(answers)

    assert len(first.predictions) == 8
    assert len(read) < 20


@pytest.mark.parametrize(
    ("trouble", "asked"),
    [(refuses(401), 2), (refuses(422), 2), (refuses(503), 4), (breaks_off, 4)],
)
def test_api_that_answers_no_more_is_left_alone(trouble: Step, asked: int) -> None:
    with (
        scripted(answers_photos(), trouble) as api,
        Client(api.url, retries=0) as client,
    ):
        answers = client.predict_each([b"x"] * 80)
        with pytest.raises(ApiError):
            list(answers)

    assert len(api.seen) == asked


def test_image_above_the_limit_is_not_sent(tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    with huge.open("wb") as stream:
        stream.truncate(2**40)

    with scripted(answers_photos()) as api, Client(api.url) as client:
        answer = client.predict([huge, b"x"])

    assert [each.error and each.error.code for each in answer.predictions] == [
        "too_large",
        None,
    ]
    assert [sent_names(each) for each in api.seen] == [["image-2"]]


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b"null", b'"x"', b'{"jobs": 3}', b'{"jobs": [{}]}', b"{"]
)
def test_answer_of_another_service_is_told_as_such(content: bytes) -> None:
    with scripted(says(content)) as api, Client(api.url) as client:
        for ask in (*GOOD, JOBS, REPORT, ROLLOUT, VERSION):
            with pytest.raises(ApiError, match="is no Kennel API: it answered"):
                ask(client)


def test_page_of_a_proxy_is_told_by_its_title() -> None:
    page = b"<html><head><title>502 Bad Gateway</title></head>" + b"<p>" * 1000
    moved = says(b"", 301, Location="https://kennel.example/")
    with scripted(says(page, 502), moved) as api, Client(api.url, retries=0) as client:
        with pytest.raises(ApiBusyError, match="a page called '502 Bad Gateway'"):
            client.models()
        with pytest.raises(ApiError, match="it redirects to"):
            client.models()


def test_progress_that_a_later_api_adds_is_passed_over() -> None:
    progress = {"done": 1, "total": 3, "unreadable": 0, "shards": 7}
    with (
        scripted(says({**JOB, "progress": progress})) as api,
        Client(api.url) as client,
    ):
        assert client.job("j1").done == 1


def test_chunk_that_is_too_large_is_sent_in_halves() -> None:
    steps = [refuses(413, "too_large")]
    steps += [says(prediction("a", "b")), says(prediction("c"))]

    with scripted(*steps) as api, Client(api.url) as client:
        answer = client.predict([b"1", b"2", b"3"])

    assert len(answer.predictions) == 3
    assert [each.body.count(b'name="image"') for each in api.seen] == [3, 1, 2]


def test_images_that_cannot_be_used_are_entries_beside_the_others() -> None:
    problem = {
        "detail": "none can be used",
        "code": "undecodable_image",
        "errors": [{"index": 0, "name": "a", "code": "empty_image", "detail": "empty"}],
    }
    mixed = prediction("b", "c")
    mixed["predictions"][0] = {"name": "b", "error": {"code": "x", "detail": "y"}}

    with scripted(says(problem, 422), says(mixed)) as api, Client(api.url) as client:
        alone = client.predict(b"")
        answer = client.predict([b"", b"1"])

    assert alone.predictions[0].error is not None
    assert alone.predictions[0].error.code == "empty_image"
    assert (alone.model, alone.version, alone.labels) == (None, None, ())
    assert [each.label for each in answer.predictions] == [None, "dog"]
    assert answer.to_json() == mixed


def test_nothing_to_predict_asks_nobody() -> None:
    assert Client("http://127.0.0.1:1").predict([]).predictions == ()


def test_explain_names_the_class() -> None:
    with scripted(says({"explained": "dog"})) as api, Client(api.url) as client:
        explained = client.explain(b"x", class_name="dog", version=2)

    assert explained == {"explained": "dog"}
    assert api.seen[0].path == "/v1/explain?version=2&class=dog"


def test_repeated_submit_has_the_same_key_and_the_next_another() -> None:
    with (
        scripted(breaks_off, refuses(503), says(JOB, 202)) as api,
        Client(api.url) as client,
    ):
        job = client.submit("test", format="full", clip=None, version=2)
        client.submit("test")

    keys = [each.headers["Idempotency-Key"] for each in api.seen]
    assert keys[0] == keys[1] == keys[2]
    assert keys[3] != keys[0]
    assert json.loads(api.seen[0].body) == {
        "input": "test",
        "format": "full",
        "version": 2,
    }
    assert (job.id, job.total, job.content["more"]) == ("j1", 3, "than we know")


def test_folder_is_packed_while_it_is_sent(tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    write_folder(folder, 3)
    (folder / ("ü" * 90 + ".png")).write_bytes(b"x" * 700)
    (folder / "notes.txt").write_text("not sent")
    sent: list[tuple[int, int]] = []

    with scripted(refuses(503), says(JOB, 202)) as api, Client(api.url) as client:
        client.submit(folder, clip="off", on_sent=lambda *now: sent.append(now))

    first, second = api.seen
    assert first.body == second.body
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.path == "/v1/jobs?input=my+photos&clip=off"
    assert first.headers["Content-Type"] == "application/x-tar"
    assert sent[-1] == (len(first.body), len(first.body))
    with tarfile.open(fileobj=io.BytesIO(first.body)) as packed:
        files = {each.name: packed.extractfile(each) for each in packed}
        content = {name: file.read() for name, file in files.items() if file}
    assert content == {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.suffix != ".txt"
    }


def test_archive_is_sent_as_it_is(tmp_path: Path) -> None:
    archive = tmp_path / "photos.tar.gz"
    archive.write_bytes(os.urandom(3_000_000))

    with scripted(says(JOB, 202)) as api, Client(api.url) as client:
        client.submit(archive)

    assert api.seen[0].body == archive.read_bytes()
    assert api.seen[0].headers["Content-Type"] == "application/gzip"


def test_names_of_uploads_that_are_not_utf8_are_sent_readable(
    tmp_path: Path,
) -> None:
    archive, sample = (
        tmp_path / os.fsdecode(name) for name in (b"m\xfcll.zip", b"m\xfc.csv")
    )
    archive.write_bytes(b"PK")
    sample.write_bytes(b"id,label\n")

    with scripted(says(JOB, 202)) as api, Client(api.url) as client:
        client.submit(archive, sample_submission=sample)

    assert b'"m?ll.zip"' in api.seen[0].body


@pytest.mark.parametrize("name", ["photos.rar", "missing.zip", "empty"])
def test_what_cannot_be_uploaded_is_told_before_anything_is_sent(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "photos.rar").touch()
    (tmp_path / "empty").mkdir()

    with pytest.raises((InvalidRequestError, FileNotFoundError), match=name):
        Client("http://127.0.0.1:1").submit(tmp_path / name)


def job(state: str, done: int = 0, **changes: Any) -> Step:
    progress = {"done": done, "total": 3, "unreadable": 0}
    return says({**JOB, "state": state, "progress": progress, **changes})


def test_waiting_goes_on_while_the_api_restarts() -> None:
    steps = [job("queued"), breaks_off, refuses(503), job("running", 2)]
    seen = []
    with (
        scripted(*steps, job("succeeded", 3)) as api,
        Client(api.url, retries=0) as client,
    ):
        last = client.wait("j1", lambda now: seen.append((now.state, now.done)))

    assert (last.state, last.is_over) == ("succeeded", True)
    assert seen == [("queued", 0), ("running", 2), ("succeeded", 3)]


def test_waiting_for_a_job_that_fails_says_why() -> None:
    with (
        scripted(job("failed", error="no disk")) as api,
        Client(api.url) as client,
        pytest.raises(JobFailedError, match="j1 failed: no disk") as failed,
    ):
        client.wait("j1")

    assert failed.value.job.state == "failed"


def test_waiting_ends_in_time() -> None:
    with (
        scripted(job("running")) as api,
        Client(api.url) as client,
        pytest.raises(TimeoutError),
    ):
        client.wait("j1", timeout_seconds=0)


def test_download_is_complete_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "s.csv"

    def cut_off(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"id,la")
        handler.close_connection = True

    with scripted(cut_off) as api, Client(api.url, retries=1) as client:
        with pytest.raises(ApiUnreachableError):
            client.download("j1", target)
        assert list(tmp_path.iterdir()) == []
        api.steps = [says(b"id,label\n")]
        client.download("../j1", target)

    assert target.read_text() == "id,label\n"
    assert api.seen[-1].path == "/v1/jobs/..%2Fj1/submission.csv"


def test_import_is_light() -> None:
    program = (
        "import sys, kennel.client\n"
        "heavy = {'numpy', 'PIL', 'grpc', 'flask', 'redis', 'rq', 'rich', 'tensorflow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_jobs_come_page_by_page() -> None:
    pages = [{"jobs": [JOB, JOB], "next": "j2"}, {"jobs": [JOB], "next": None}]
    with scripted(*map(says, pages)) as api, Client(api.url) as client:
        found = client.jobs(state="failed")

    assert len(found) == 3
    assert [each.path for each in api.seen] == [
        "/v1/jobs?limit=500&state=failed",
        "/v1/jobs?limit=500&after=j2&state=failed",
    ]


def test_no_more_jobs_are_asked_for_than_wanted() -> None:
    page = {"jobs": [JOB, JOB], "next": "j2"}
    with scripted(says(page)) as api, Client(api.url) as client:
        assert len(client.jobs(limit=2)) == 2

    assert [each.path for each in api.seen] == ["/v1/jobs?limit=2"]


def test_deleting_asks_once() -> None:
    with scripted(says(b"", 204)) as api, Client(api.url) as client:
        client.delete("../j1")

    assert [(each.method, each.path) for each in api.seen] == [
        ("DELETE", "/v1/jobs/..%2Fj1")
    ]
