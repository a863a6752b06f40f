"""One shard: files -> pixels -> probabilities, a row for each image, in order.

Decoding runs beside inference with few batches in flight, so that neither waits for the
other and memory stays bounded. An image that cannot be read is a row; anything else
that goes wrong ends the shard. One that was ended twice is worked on image by image: the
image that breaks its decoder, or the process, is a row too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final

from models.environment import usable_processors
from models.files import write_atomically
from models.images.sandbox import DecodeSandbox, broken_decoder
from worker.artefacts import Row, render_artefact
from worker.attempts import (
    deadly_images,
    is_careful,
    record_decoded,
    record_image,
    shard_work,
)
from worker.batches import LIMITS, Loaded, PhotoLoader, answer_batch, unreadable
from worker.items import Item
from worker.request import JobRequest
from worker.run import Run
from worker.run_items import shard_items, shard_rows
from worker.sources.source import PhotoFolder
from worker.yielding import FULL_LOAD, Allowed, Ask

DECODERS: Final = min(4, usable_processors())


def finish_shard(
    run: Run,
    number: int,
    folder: PhotoFolder,
    ask: Ask,
    allowed: Allowed = lambda: FULL_LOAD,
) -> int:
    """Work shard *number* of *run*, whose images lie in *folder*; write its artefact.

    *allowed* says before each call how much *ask* may be asked for.

    Returns how many images it has; 0 if a sound artefact was there already.

    Raises:
        ModelUnavailableError, ModelContractError, ConflictError,
            StorageUnavailableError: as `predict_items`.
        NotFoundError: the manifest cannot be read.
        OSError: the disk is full or read-only.
    """
    if shard_rows(run, number) is not None:
        return 0
    begun = time.monotonic()
    items, request = shard_items(run, number), run.manifest.request
    answer = partial(answer_batch, request, ask, allowed)
    if is_careful(run, shard_work(number)):
        rows = _find_breaking(run, number, folder, items, answer, allowed)
    else:
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
        StorageUnavailableError: the photos' storage, or their folder, is away.
    """
    rows: list[Row] = []
    in_flight: deque[Future[list[Row]]] = deque()
    sandbox = DecodeSandbox(LIMITS)
    load = PhotoLoader(folder, request, sandbox).load
    answer = partial(answer_batch, request, ask, allowed)
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
        sandbox.close()
    return rows


def _find_breaking(
    run: Run,
    number: int,
    folder: PhotoFolder,
    items: Sequence[Item],
    answer: Callable[[Sequence[Loaded]], list[Row]],
    allowed: Allowed,
) -> list[Row]:
    work, rows = shard_work(number), list[Row]()
    deadly = {items[each] for each in deadly_images(run, work)}
    with DecodeSandbox(LIMITS) as sandbox:
        loader = PhotoLoader(folder, run.manifest.request, sandbox, is_careful=True)
        for batch, _ in _batches(items, allowed):
            loaded = []
            for item in batch:
                if item in deadly:
                    error = broken_decoder("ended its process twice")
                    loaded.append(unreadable(item, error))
                    continue
                record_image(run, work, len(rows) + len(loaded))
                loaded.append(loader.load(item))
            # Whatever happens while the model is asked is no photo's fault.
            record_decoded(run, work)
            rows.extend(answer(loaded))
    return rows


def _batches(
    items: Sequence[Item], allowed: Allowed
) -> Iterator[tuple[Sequence[Item], int]]:
    start = 0
    while start < len(items):
        load = allowed()
        yield items[start : start + load.images], load.calls
        start += load.images
