"""The scores of a finished job and its thumbnails, without a worker process."""

from __future__ import annotations

import io
import json

import pytest
from flask.testing import FlaskClient
from PIL import Image

from service.settings import ServiceSettings
from tests.finished_runs import finish_run
from tests.pictures import grey
from tests.processes import no_descriptors
from tests.service.openapi.described import check_answer
from worker.artefacts import Row, render_artefact
from worker.report import make_report
from worker.run import Run
from worker.runs import find_run
from worker.scores import score_rows
from worker.survey import Survey


def row(number: int, dog: float) -> Row:
    return Row(str(number), f"{number}.png", (1 - dog, dog))


@pytest.fixture
def job(jobs_client: FlaskClient, settings: ServiceSettings) -> str:
    folder = settings.input_root / "test"
    folder.mkdir()
    for number in range(1, 31):
        (folder / f"{number}.png").write_bytes(grey(number, size=(600, 300)))
    (folder / "100 %.png").write_bytes(b"no image")
    return str(jobs_client.post("/v1/jobs", json={"input": "test"}).get_json()["id"])


def finish(settings: ServiceSettings, job: str) -> Run:
    """What the workers do in the end: 30 is surest, "100 %" cannot be read."""
    run = find_run(settings.runs_dir, job)
    rows = [row(number, number / 30) for number in range(1, 31)]
    rows.append(Row("100 %", "100 %.png", code="undecodable_image", detail="no image"))
    run.shard_path(0).write_text(render_artefact(rows, 1.0))
    survey = Survey(run)
    assert len(list(survey.rows())) == 31
    finish_run(run, "id,label\n", make_report(run, survey, "9f86"))
    return run


def test_scores_sum_up_what_was_predicted(
    jobs_client: FlaskClient, settings: ServiceSettings, job: str
) -> None:
    finish(settings, job)

    scores = jobs_client.get(f"/v1/jobs/{job}/scores").get_json()

    assert (scores["job"], scores["model"], scores["version"]) == (job, "pets", 1)
    assert (scores["images"], scores["unreadable"]) == (31, 1)
    assert (scores["labels"], scores["positive"]) == (["cat", "dog"], "dog")
    assert scores["predicted"] == {"cat": 15, "dog": 15}
    edges, counts = scores["histogram"]["edges"], scores["histogram"]["counts"]
    assert (edges[0], edges[1], edges[-1], len(edges)) == (0, 0.05, 1, 21)
    assert [sum(counts[label]) for label in ("cat", "dog")] == [30, 30]
    assert counts["dog"][-1] == 2
    assert len(scores["uncertain"]) == 24
    first = scores["uncertain"][0]
    assert (first["id"], first["file"], first["label"]) == ("15", "15.png", "cat")
    assert first["probabilities"] == {"cat": 0.5, "dog": 0.5}
    assert first["thumbnail"] == f"/v1/jobs/{job}/images/15"


def test_scores_are_computed_once(
    jobs_client: FlaskClient, settings: ServiceSettings, job: str
) -> None:
    run = finish(settings, job)
    first = jobs_client.get(f"/v1/jobs/{job}/scores").get_json()
    run.shard_path(0).unlink()

    assert jobs_client.get(f"/v1/jobs/{job}/scores").get_json() == first
    run.scores.write_text("{")
    again = jobs_client.get(f"/v1/jobs/{job}/scores")
    assert (again.status_code, again.get_json()["code"]) == (404, "scores_not_found")


def test_scores_are_a_conflict_until_the_job_has_succeeded(
    jobs_client: FlaskClient, job: str
) -> None:
    response = jobs_client.get(f"/v1/jobs/{job}/scores")

    assert (response.status_code, response.get_json()["code"]) == (
        409,
        "job_not_finished",
    )


def test_equally_uncertain_images_stay_in_order_across_shards() -> None:
    shards = [[row(n, 0.6) for n in range(start, start + 20)] for start in (0, 20)]

    scores = score_rows(shards, 2)

    assert [row.id for row in scores.uncertain] == [str(n) for n in range(24)]
    assert json.dumps(scores.counts)


def test_thumbnail_is_a_small_jpeg_that_browsers_keep(
    jobs_client: FlaskClient, job: str
) -> None:
    response = jobs_client.get(f"/v1/jobs/{job}/images/7")

    assert response.headers["Cache-Control"] == "private, max-age=3600"
    assert "Cookie" in response.headers["Vary"]
    image = Image.open(io.BytesIO(response.data))
    assert (image.format, image.size) == ("JPEG", (240, 120))


@pytest.mark.parametrize("image", ["31", "nothing", "..", "%2e%2e%2f1", "100%20%25"])
def test_image_that_cannot_be_shown_is_not_found(
    jobs_client: FlaskClient, job: str, image: str
) -> None:
    response = jobs_client.get(f"/v1/jobs/{job}/images/{image}")

    assert response.status_code == 404
    assert "max-age" not in response.headers["Cache-Control"]


def test_image_that_became_a_link_is_not_followed(
    jobs_client: FlaskClient, settings: ServiceSettings, job: str
) -> None:
    photo = settings.input_root / "test" / "1.png"
    photo.rename(settings.input_root / "secret.png")
    photo.symlink_to(settings.input_root / "secret.png")

    response = jobs_client.get(f"/v1/jobs/{job}/images/1")

    assert (response.status_code, response.get_json()["code"]) == (
        404,
        "image_not_found",
    )


def test_report_is_answered_as_it_was_written(
    jobs_client: FlaskClient, settings: ServiceSettings, job: str
) -> None:
    early = jobs_client.get(f"/v1/jobs/{job}/report")
    run = finish(settings, job)

    response = jobs_client.get(f"/v1/jobs/{job}/report")

    assert (early.status_code, early.get_json()["code"]) == (409, "job_not_finished")
    assert response.get_json() == json.loads(run.report.read_text())


def test_answers_about_a_finished_job_are_those_of_the_document(
    jobs_client: FlaskClient, settings: ServiceSettings, job: str
) -> None:
    finish(settings, job)
    document = jobs_client.get("/openapi.json").get_json()

    for id_, path in {
        "jobs_job": "",
        "scores_report": "/report",
        "scores_scores": "/scores",
        "scores_image": "/images/1",
        "jobs_submission": "/submission.csv",
    }.items():
        with jobs_client.get(f"/v1/jobs/{job}{path}") as response:
            assert response.status_code == 200
            check_answer(document, id_, response)
    report = jobs_client.get(f"/v1/jobs/{job}/report").get_json()
    described = document["components"]["schemas"]["Report"]["properties"]
    assert {*report, "results"} == set(described)
    deleted = jobs_client.delete(f"/v1/jobs/{job}")
    assert deleted.status_code == 204
    check_answer(document, "jobs_delete", deleted)


def test_damaged_report_is_not_found(
    jobs_client: FlaskClient, settings: ServiceSettings, job: str
) -> None:
    finish(settings, job).report.write_text("{")

    response = jobs_client.get(f"/v1/jobs/{job}/report")

    assert (response.status_code, response.get_json()["code"]) == (
        404,
        "report_not_found",
    )


def test_card_of_the_served_version_is_kept_with_the_job(
    settings: ServiceSettings, job: str
) -> None:
    card = json.loads(find_run(settings.runs_dir, job).card.read_text())

    assert (card["name"], card["version"]) == ("pets", 1)


def test_uncertain_image_is_shown_without_a_long_manifest(
    jobs_client: FlaskClient, settings: ServiceSettings, job: str
) -> None:
    run = finish(settings, job)
    jobs_client.get(f"/v1/jobs/{job}/scores")
    (run.folder / "items.jsonl").write_text("")

    listed = jobs_client.get(f"/v1/jobs/{job}/images/15")
    other = jobs_client.get(f"/v1/jobs/{job}/images/nothing")

    assert (listed.status_code, other.status_code) == (200, 404)


@pytest.mark.parametrize("path", ["images/7", "scores", "submission.csv"])
def test_disk_that_cannot_be_read_now_is_unavailable_and_no_fault_of_ours(
    jobs_client: FlaskClient, settings: ServiceSettings, job: str, path: str
) -> None:
    finish(settings, job)
    with no_descriptors():
        response = jobs_client.get(f"/v1/jobs/{job}/{path}")

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (503, "storage_unavailable")
    assert "Too many open files" in problem["detail"]
    assert str(settings.input_root) not in problem["detail"]
    with jobs_client.get(f"/v1/jobs/{job}/{path}") as again:
        assert again.status_code == 200
