"""Whatever arrives, training, the API and the worker see the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

from export.data.cache import PixelSource, cached_pixels
from export.progress import silent
from models.images.codec import Pixels, decode_image
from models.wire.client import ModelServerClient
from models.wire.messages import ModelRef, Prediction
from tests.fake_model_server import CARD, brightness_probabilities
from tests.models.images.test_codec import ROWS
from tests.service.conftest import post_images
from worker.request import JobRequest
from worker.shards import predict_items
from worker.sources.local import LocalFolder
from worker.sources.source import list_photos

FILES = [image for image, _, _ in ROWS.values()]
PIXELS = np.stack([decode_image(image, CARD.image_size) for image in FILES])
DOGS = brightness_probabilities(PIXELS, 2)[:, 1]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"{number}.jpg" for number in range(len(FILES))]
    for path, image in zip(paths, FILES, strict=True):
        path.write_bytes(image)
    return paths


def test_api_sees_the_tables_pixels(client: FlaskClient) -> None:
    answer = post_images(client, FILES).get_json()

    dogs = [each["raw"]["dog"] for each in answer["predictions"]]
    assert dogs == pytest.approx(DOGS, abs=1e-7)


def test_worker_sees_the_tables_pixels(
    files: list[Path], model_client: ModelServerClient
) -> None:
    request = JobRequest("pets", 1, CARD.labels, CARD.image_size, "photos")

    def ask(batch: Pixels, model: ModelRef) -> Prediction:
        return model_client.predict(batch, model)

    folder = files[0].parent
    photos = LocalFolder(folder, "photos")
    items = list_photos(photos).items
    rows = predict_items(photos, items, request, ask)

    assert [row.probabilities[1] for row in rows] == pytest.approx(DOGS, abs=1e-7)


def test_training_sees_the_tables_pixels(files: list[Path], tmp_path: Path) -> None:
    hashes = [path.name for path in files]
    source = PixelSource("train", files, hashes, CARD.image_size)

    array = cached_pixels(source, tmp_path / "cache", silent)

    batches = [batch for _, batch in array.batches(64)]
    assert (np.concatenate(batches) == PIXELS).all()
