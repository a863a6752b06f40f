"""The times of the stages, measured on a running stack while nothing else is asked."""

from __future__ import annotations

import statistics
import time

import numpy as np

from benchmarks.capacity.stages import Stages
from benchmarks.load.process import Target
from benchmarks.processes import cpu_seconds, tree
from kennel.stack.local_stack import LocalStack
from models.processors import usable_processors
from models.wire.client import ModelServerClient
from models.wire.model_ref import ModelRef
from service.settings import ServiceSettings

SIZES = (1, 2, 4, 8)
"""Larger batches are on the same line, and take long on a small machine."""

CALLS = 6
SINGLE_SECONDS = 4.0


def calibrate(stack: LocalStack, target: Target, model: str) -> Stages:
    """What each stage of *stack* takes for *model*."""
    calls = _batch_seconds(stack.model_server, model)
    medians = {size: statistics.median(taken) for size, taken in calls.items()}
    fixed, each = _line(medians)
    api = tree(stack.pids()["api"])
    spent = cpu_seconds(api)
    single = target.clients(1, SINGLE_SECONDS)
    requests = len(single.outcomes)
    spent = (cpu_seconds(api) - spent) / requests
    alone = single.milliseconds(50) / 1000
    return Stages(
        api_seconds=max(alone - medians[1], spent),
        api_servers=ServiceSettings.web_workers,
        batch_seconds=fixed,
        image_seconds=each,
        # A noisy machine's calls vary, and the slow ones make the queue.
        spread=tuple(
            seconds / (fixed + size * each)
            for size, taken in calls.items()
            for seconds in taken
        ),
        other_cpu_seconds=spent + single.cpu_seconds / requests,
        cores=usable_processors(),
    )


def _batch_seconds(server: str, model: str) -> dict[int, list[float]]:
    """Of a call with each size, its way there and back included."""
    seconds = {}
    with ModelServerClient(server, timeout_seconds=120) as client:
        size = client.describe(ModelRef(model)).image_size
        for count in SIZES:
            pixels = np.zeros((count, *size, 3), np.uint8)
            taken = []
            for _ in range(CALLS):
                began = time.perf_counter()
                client.predict(pixels, ModelRef(model))
                taken.append(time.perf_counter() - began)
            seconds[count] = taken
    return seconds


def _line(batches: dict[int, float]) -> tuple[float, float]:
    """Fixed seconds, and those of an image, that fit *batches* best.

    Relative errors count: a fit of the seconds themselves would see the largest only.
    """
    sizes = np.array(list(batches), float)
    taken = np.array(list(batches.values()))
    design = np.stack([np.ones_like(sizes), sizes], axis=1) / taken[:, None]
    (fixed, each), *_ = np.linalg.lstsq(design, np.ones_like(taken))
    if fixed < 0:
        return 0.0, float(np.median(taken / sizes))
    return float(fixed), float(each)
