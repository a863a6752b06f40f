"""The batching parameters for a machine, each with its reason.

Sources: TensorFlow Serving's batching guide (tensorflow_serving/batching/README.md) and
what was measured here with VGG16 (docs/sizing.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kennel.serving_config.setting import Setting, plain_field, wrapped_field
from kennel.serving_config.wishes import Wishes, powers_of_two
from models.contract import MAX_BATCH_SIZE


def batching_settings(wishes: Wishes) -> list[Setting]:
    """The fields of a batching parameters file, in the order to read them."""
    return [*_sizes(wishes), *_waiting(wishes), *_padding(wishes)]


def _sizes(wishes: Wishes) -> Iterator[Setting]:
    yield wrapped_field(
        "max_batch_size",
        _largest_request(wishes),
        "Images in one request; a larger one is refused with INVALID_ARGUMENT. The API "
        f"and the workers send up to {MAX_BATCH_SIZE}. Throughput is flat past 8 to 32 "
        "on a CPU (VGG16: 17 images/s at 8, 16 to 18 at 32) and past 16 to 32 on an "
        "A100 (ResNet-50: 2760 at 16, 2858 at 32, 2662 at 128).",
    )
    if wishes.splits:
        yield from _splitting(wishes)


def _largest_request(wishes: Wishes) -> int:
    return max(wishes.max_batch, MAX_BATCH_SIZE)


def _splitting(wishes: Wishes) -> Iterator[Setting]:
    yield wrapped_field(
        "enable_large_batch_splitting",
        True,
        "A request of more images than are computed at once is computed in parts.",
    )
    yield wrapped_field(
        "max_execution_batch_size",
        wishes.max_batch,
        "Images that are computed at once. It bounds how long a batch takes and its "
        "memory, not how long a request waits behind a folder job's call: parts are "
        "computed in the order in which calls came.",
    )


def _waiting(wishes: Wishes) -> Iterator[Setting]:
    yield wrapped_field(
        "batch_timeout_micros",
        wishes.batch_timeout_micros,
        _TIMEOUT[wishes.device],
    )
    yield wrapped_field("num_batch_threads", wishes.batch_threads, _threads(wishes))
    yield wrapped_field(
        "max_enqueued_batches",
        wishes.waiting_batches,
        "More than the clients can send at once "
        f"({wishes.clients.images} images: MAX_IN_FLIGHT of "
        f"{wishes.clients.api_processes} API processes and the calls of "
        f"{wishes.clients.workers} workers, in batches that may be half full): "
        "overload is refused by the API, which knows the budget of each request, not "
        "here with UNAVAILABLE.",
    )


_TIMEOUT: Final = {
    "cpu": "A batch goes as soon as a thread is free: an idle server adds no delay, a "
    "busy one gathers meanwhile (the guide's first value for a CPU).",
    "gpu": "A GPU is so fast that requests are worth waiting for: 2 ms, or a tenth of "
    "the latency budget if that is less (the guide: 1 to 10 ms).",
}


def _threads(wishes: Wishes) -> str:
    if wishes.device == "gpu":
        return "One batch computes while the next is copied. More only share the GPU."
    if wishes.batch_threads > 1:
        return (
            f"{wishes.cores} cores: one batch for each 8 of them (servers of 8 vCPU did "
            "best in TensorFlow's blog of July 2022; measure yours). Times "
            "--tensorflow_intra_op_parallelism it must not exceed the cores."
        )
    return (
        "One batch at a time gets all cores. TensorFlow Serving's default, one thread "
        "a core, makes batches small and lets them fight for the cores "
        "(tensorflow/serving issue 1529)."
    )


def _padding(wishes: Wishes) -> Iterator[Setting]:
    if wishes.splits:
        yield plain_field("allowed_batch_sizes", _parts(wishes), _PARTS)
    elif wishes.device == "gpu":
        sizes = powers_of_two(wishes.max_batch)
        yield plain_field("allowed_batch_sizes", sizes, _STEPS)
    yield plain_field(
        "pad_variable_length_inputs",
        [False],
        "All images of a version have one size; another one is an error to report.",
    )


def _parts(wishes: Wishes) -> list[int]:
    parts = list(range(2, wishes.max_batch + 1))
    if wishes.device == "gpu":
        parts = powers_of_two(wishes.max_batch)[1:]
    return [*parts, _largest_request(wishes)]


_PARTS: Final = (
    "Never one: the rest of a split call would be computed by other kernels than its "
    "other images, and the last digits of a folder job's CSV would depend on chance. A "
    "lone image is computed as two. The last one must be max_batch_size, or the server "
    "loads no version; no part is larger than max_execution_batch_size, so none is "
    "padded up to it."
)
_STEPS: Final = (
    "Each new size costs a GPU a set-up; padding up to a known one costs next to "
    "nothing. The last one must be max_batch_size."
)
