"""One batch of a shard: photos are read and decoded, and the model's answer becomes rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.errors import InvalidImageError, ModelContractError
from models.images import Pixels, decode_image
from models.wire.model_ref import ModelRef
from worker.artefacts import Row
from worker.items import Item
from worker.request import JobRequest
from worker.sources.source import InvalidFolderError, PhotoFolder
from worker.yielding import Allowed, Ask


@dataclass(frozen=True)
class Loaded:
    """One image as it was read."""

    item: Item
    pixels: Pixels | None
    code: str = ""
    detail: str = ""


def load_photo(folder: PhotoFolder, size: tuple[int, int], item: Item) -> Loaded:
    """The pixels of one image of *folder*, or why there are none.

    Raises:
        StorageUnavailableError: the storage of the photos, or their folder, is away.
    """
    try:
        return Loaded(item, decode_image(folder.read(item.file), size))
    except InvalidImageError as error:
        return Loaded(item, None, error.code, str(error))
    except InvalidFolderError as error:
        # It was there when the job was submitted: an unmounted volume may come back.
        raise error.during_job() from error


def answer_batch(
    request: JobRequest, ask: Ask, allowed: Allowed, loaded: Sequence[Loaded]
) -> list[Row]:
    """A row for each of *loaded*, in their order.

    What was loaded for one call is asked for in several if less is *allowed* by now.

    Raises:
        KennelError: as *ask*.
        ModelContractError: the answer does not fit the request.
    """
    rows: list[Row] = []
    while len(rows) < len(loaded):
        end = len(rows) + allowed().images
        rows.extend(_answer(request, ask, loaded[len(rows) : end]))
    return rows


def _answer(request: JobRequest, ask: Ask, loaded: Sequence[Loaded]) -> list[Row]:
    pixels = [each.pixels for each in loaded if each.pixels is not None]
    answers = iter(_probabilities(request, ask, pixels) if pixels else ())
    return [
        Row(*each.item, code=each.code, detail=each.detail)
        if each.pixels is None
        else Row(*each.item, probabilities=next(answers))
        for each in loaded
    ]


def _probabilities(
    request: JobRequest, ask: Ask, pixels: list[Pixels]
) -> list[tuple[float, ...]]:
    # A lone image gets other last bits than in company: it is sent twice.
    batch = np.stack(pixels if len(pixels) > 1 else pixels * 2)
    prediction = ask(batch, ModelRef(request.model, version=request.version))
    answered = prediction.probabilities[: len(pixels)]
    if answered.shape != (len(pixels), len(request.labels)):
        message = (
            f"model {request.model!r} answered {answered.shape} for {len(pixels)} "
            f"images and {len(request.labels)} labels: export it again"
        )
        raise ModelContractError(message)
    if prediction.version != request.version:
        message = f"version {prediction.version} answered instead of {request.version}"
        raise ModelContractError(message)
    # The client lets rounding of 1e-6 above 1 pass.
    return [tuple(map(float, row)) for row in np.clip(answered, 0, 1)]
