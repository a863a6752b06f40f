"""Slow images: bounded, in a queue of their own, cancelled with their request."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from models.errors import InvalidImageError, ModelTimeoutError
from models.images.sandbox import DecodeLimits, DecodeSandbox
from service.http.budget import Budget
from service.http.errors import OverloadedError
from service.predict.admission import Admission
from service.predict.decoding import MAX_HEAVY_WAITING, Decoder
from service.settings import ServiceSettings
from tests.fake_model_server import CARD as PETS
from tests.finished_runs import finish_run
from tests.models.images.handmade import huge_png
from tests.pictures import encoded, grey, noise
from tests.processes import wait_until
from tests.service.conftest import post_image
from worker.runs import find_run

CARD = replace(PETS, image_size=(32, 24))
SMALL = grey(9)
LARGE = encoded(Image.new("L", (3000, 2000), 99), "JPEG")
HEAVY = noise(1, kind="PNG") + bytes(9 * 1024 * 1024)
"""By its size: it is decoded at once."""

SLOW = huge_png(8_000, 6_000)


@pytest.fixture
def sandbox() -> Iterator[DecodeSandbox]:
    with DecodeSandbox() as sandbox:
        yield sandbox


@contextmanager
def stopped(pids: Collection[int]) -> Iterator[None]:
    """Children that decode nothing until the block ends."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGCONT)


def test_image_that_takes_too_much_is_one_bad_image_among_others() -> None:
    with DecodeSandbox(DecodeLimits(cpu_seconds=0.03)) as sandbox:
        decoder = Decoder(1, sandbox)
        first, bad, large, last = decoder.decode(
            [SMALL, SLOW, LARGE, SMALL], CARD, Budget(20)
        )

    assert isinstance(bad, InvalidImageError)
    assert bad.code == "too_complex"
    good = [each for each in (first, large, last) if isinstance(each, np.ndarray)]
    assert [each.shape for each in good] == 3 * [(*CARD.image_size, 3)]


def test_small_and_large_photos_pass_those_that_wait_for_a_heavy_one(
    sandbox: DecodeSandbox,
) -> None:
    decoder = Decoder(1, sandbox)
    decoder.decode([HEAVY], CARD, Budget(20))
    with ThreadPoolExecutor(4) as clients, stopped(sandbox.pids):
        heavy = [
            clients.submit(decoder.decode, [HEAVY], CARD, Budget(20)) for _ in range(4)
        ]
        wait_until(lambda: decoder.heavy_waiting == 3, "three wait for the first")
        for images in ([SMALL], [LARGE], [SMALL, LARGE, SMALL]):
            assert len(decoder.decode(images, CARD, Budget(20))) == len(images)
        assert not any(each.done() for each in heavy)
        for pid in sandbox.pids:
            os.kill(pid, signal.SIGCONT)
        assert [len(each.result()) for each in heavy] == [1, 1, 1, 1]


def test_processes_decode_heavy_images_one_after_the_other(
    sandbox: DecodeSandbox,
) -> None:
    decoders = [Decoder(1, sandbox) for _ in range(2)]
    decoders[0].decode([HEAVY], CARD, Budget(20))
    with stopped(sandbox.pids), ThreadPoolExecutor() as clients:
        first = clients.submit(decoders[0].decode, [HEAVY], CARD, Budget(20))
        wait_until(lambda: sandbox.in_work == 1, "the first has begun")
        with pytest.raises(ModelTimeoutError):
            decoders[1].decode([HEAVY], CARD, Budget(0.2))
        assert sandbox.in_work == 1
        for pid in sandbox.pids:
            os.kill(pid, signal.SIGCONT)
        assert len(first.result()) == 1


def test_too_many_heavy_images_are_refused_at_once(sandbox: DecodeSandbox) -> None:
    decoder = Decoder(1, sandbox)
    decoder.decode([HEAVY], CARD, Budget(20))
    with ThreadPoolExecutor(20) as clients, stopped(sandbox.pids):
        for _ in range(1 + MAX_HEAVY_WAITING):
            clients.submit(decoder.decode, [HEAVY], CARD, Budget(20))
        full = MAX_HEAVY_WAITING
        wait_until(lambda: decoder.heavy_waiting == full, "there is no place")

        with pytest.raises(OverloadedError, match="heavy images") as refusal:
            decoder.decode([SMALL, HEAVY], CARD, Budget(20))
        for pid in sandbox.pids:
            os.kill(pid, signal.SIGCONT)

    assert refusal.value.headers == {"Retry-After": "3"}


@pytest.mark.parametrize("images", [[HEAVY], [LARGE], [SMALL, LARGE, HEAVY, LARGE]])
def test_spent_budget_leaves_nothing_at_work(
    sandbox: DecodeSandbox, images: list[bytes]
) -> None:
    decoder = Decoder(1, sandbox)
    decoder.decode([LARGE], CARD, Budget(20))
    pids = sandbox.pids
    with stopped(pids), pytest.raises(ModelTimeoutError, match="X-Request-Timeout"):
        decoder.decode(images, CARD, Budget(0.2))

    assert sandbox.in_work == 0
    assert not set(pids) & set(sandbox.pids)


def test_heavy_images_in_work_are_no_reason_to_refuse_a_photo() -> None:
    admission = Admission(limit=10)
    slow = Budget(20)
    with admission.enter(1, slow):
        pass
    with admission.enter(4, slow, apart=4):
        admission.check_room(0.1)
        with admission.enter(1, Budget(0.1)):
            assert admission.is_busy()
        with (
            pytest.raises(OverloadedError, match="4 images are in work"),
            admission.enter(7, slow),
        ):
            pass

    assert not admission.is_busy()


def test_api_answers_photos_while_it_decodes_a_heavy_one(app: Flask) -> None:
    sender, other = app.test_client(), app.test_client()
    children = _children_after(lambda: post_image(sender, SLOW))
    with ThreadPoolExecutor() as threads, stopped(children):
        heavy = threads.submit(post_image, sender, SLOW)
        depth = 'inference_queue_depth{model="pets"} 1.0\n'
        wait_until(lambda: depth in other.get("/metrics").text, "it is in work")

        assert post_image(other, SMALL).status_code == 200
        assert post_image(other, LARGE).status_code == 200
        assert not heavy.done()
        for pid in children:
            os.kill(pid, signal.SIGCONT)
        assert heavy.result().status_code == 200


def test_request_without_time_ends_its_decoding(client: FlaskClient) -> None:
    children = _children_after(lambda: post_image(client, SLOW))
    with stopped(children):
        late = post_image(client, SLOW, headers={"X-Request-Timeout-Ms": "300"})

    assert (late.status_code, late.get_json()["code"]) == (504, "deadline_exceeded")
    assert not children & _children()
    assert post_image(client, SLOW).status_code == 200


def test_thumbnail_of_a_large_photo_is_made_by_a_child(
    jobs_client: FlaskClient, settings: ServiceSettings
) -> None:
    folder = settings.input_root / "test"
    folder.mkdir()
    (folder / "1.png").write_bytes(SLOW)
    (folder / "2.jpg").write_bytes(noise(1, (300, 200)))
    job = jobs_client.post("/v1/jobs", json={"input": "test"}).get_json()["id"]
    finish_run(find_run(settings.runs_dir, job), "id,label\n", {"images": 2})

    responses = []
    image = f"/v1/jobs/{job}/images"
    assert not _children_after(lambda: responses.append(jobs_client.get(f"{image}/2")))
    assert _children_after(lambda: responses.append(jobs_client.get(f"{image}/1")))

    opened = [Image.open(io.BytesIO(each.data)) for each in responses]
    assert [each.size for each in opened] == [(240, 160), (240, 180)]


def _children_after(work: Callable[[], object]) -> set[int]:
    """The children that *work* has started."""
    before = _children()
    work()
    return _children() - before


def _children() -> set[int]:
    """The process ids of those of this process that decode."""
    own = Path("/proc/self/task").glob("*/children")
    pids = {int(pid) for task in own for pid in task.read_text().split()}
    return {pid for pid in pids if b"images.sandbox" in _command(pid)}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
