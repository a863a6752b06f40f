"""One shard: files -> pixels -> probabilities, a row for each image, in order.

Decoding runs beside inference with few batches in flight, so that neither waits for the
other and memory stays bounded. An image that cannot be read is a row; anything else
that goes wrong ends the shard.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from models.errors import InvalidImageError, ModelContractError
from models.images import Pixels, decode_image
from models.storage import write_atomically
from models.wire.client import ModelRef
from worker.artefacts import Row, render_artefact
from worker.items import Item
from worker.request import JobRequest
from worker.run import Run
from worker.run_items import shard_items, shard_rows
from worker.sources.source import PhotoFolder
from worker.yielding import FULL_LOAD, Ask, Load

DECODERS: Final = min(4, os.cpu_count() or 1)

Allowed: TypeAlias = Callable[[], Load]
"""How much may be asked for at this moment."""


@dataclass(frozen=True)
class _Loaded:
    item: Item
    pixels: Pixels | None
    code: str = ""
    detail: str = ""


def finish_shard(
    run: Run,
    number: int,
    folder: PhotoFolder,
    ask: Ask,
    allowed: Allowed = lambda: FULL_LOAD,
) -> int:
    """Work shard *number* of *run*, whose images lie in *folder*; write its artefact.

    *allowed* says before each batch how much *ask* may be asked for.

    Returns how many images it has; 0 if a sound artefact was there already.

    Raises:
        ModelUnavailableError, ModelContractError, ConflictError,
            StorageUnavailableError, InvalidRequestError: as `predict_items`.
        NotFoundError: the manifest cannot be read.
        OSError: the disk is full or read-only.
    """
    if shard_rows(run, number) is not None:
        return 0
    begun = time.monotonic()
    items, request = shard_items(run, number), run.manifest.request
    rows = predict_items(folder, items, request, ask, allowed)
    write_atomically(
        run.shard_path(number), render_artefact(rows, time.monotonic() - begun)
    )
    return len(rows)


def predict_items(
    folder: PhotoFolder,
    items: Sequence[Item],
    request: JobRequest,
    ask: Ask,
    allowed: Allowed = lambda: FULL_LOAD,
) -> list[Row]:
    """A row for each of *items*, in their order.

    Raises:
        ModelUnavailableError: the model was away for too long.
        ModelContractError: its answers do not fit the request.
        ConflictError: the run has ended meanwhile.
        StorageUnavailableError: the photos' storage was away for too long.
        InvalidRequestError: their folder is gone from it.
    """
    rows: list[Row] = []
    in_flight: deque[Future[list[Row]]] = deque()
    load = partial(_load, folder, request.image_size)
    answer = partial(_answer, request, ask)
    decoders = ThreadPoolExecutor(DECODERS)
    senders = ThreadPoolExecutor(FULL_LOAD.calls)
    try:
        for batch, calls in _batches(items, allowed):
            loaded = list(decoders.map(load, batch))
            while len(in_flight) >= calls:
                rows.extend(in_flight.popleft().result())
            in_flight.append(senders.submit(answer, loaded))
        for future in in_flight:
            rows.extend(future.result())
    finally:
        # After an error nobody wants the other answers: whoever called ends the calls.
        decoders.shutdown(wait=False, cancel_futures=True)
        senders.shutdown(wait=False, cancel_futures=True)
    return rows


def _batches(
    items: Sequence[Item], allowed: Allowed
) -> Iterator[tuple[Sequence[Item], int]]:
    start = 0
    while start < len(items):
        load = allowed()
        yield items[start : start + load.images], load.calls
        start += load.images


def _load(folder: PhotoFolder, size: tuple[int, int], item: Item) -> _Loaded:
    try:
        return _Loaded(item, decode_image(folder.read(item.file), size))
    except InvalidImageError as error:
        return _Loaded(item, None, error.code, str(error))


def _answer(request: JobRequest, ask: Ask, loaded: Sequence[_Loaded]) -> list[Row]:
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
