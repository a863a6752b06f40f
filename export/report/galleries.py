"""Which photos to look at: the five galleries of the fast.ai course."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PHOTOS_EACH = 4


@dataclass(frozen=True)
class Gallery:
    """A title and the photos (by index) that belong under it."""

    title: str
    photos: tuple[int, ...]


def choose_galleries(
    probabilities: NDArray[Any],
    classes: NDArray[np.int64],
    labels: Sequence[str],
    seed: int = 0,
) -> list[Gallery]:
    """Random correct and incorrect, most correct and incorrect by class, most uncertain.

    *probabilities* [N, K], true *classes* [N].
    """
    return list(_galleries(probabilities, classes, labels, seed))


def _galleries(
    probabilities: NDArray[Any],
    classes: NDArray[np.int64],
    labels: Sequence[str],
    seed: int,
) -> Iterator[Gallery]:
    generator = np.random.default_rng(seed)
    predicted = probabilities.argmax(axis=1)
    right = predicted == classes
    confidence = probabilities.max(axis=1)
    yield _gallery("Correct, at random", generator.permutation(np.flatnonzero(right)))
    yield _gallery("Wrong, at random", generator.permutation(np.flatnonzero(~right)))
    for number, label in enumerate(labels):
        # The label is the predicted one, as in the course: "said cat, and was sure".
        chosen = np.flatnonzero(right & (predicted == number))
        yield _gallery(
            f"Most correct: {label}", chosen[np.argsort(-confidence[chosen])]
        )
    for number, label in enumerate(labels):
        chosen = np.flatnonzero(~right & (predicted == number))
        yield _gallery(
            f"Most wrong: called {label}", chosen[np.argsort(-confidence[chosen])]
        )
    yield _gallery("Most uncertain", np.argsort(confidence))


def _gallery(title: str, order: NDArray[Any]) -> Gallery:
    return Gallery(title, tuple(int(index) for index in order[:PHOTOS_EACH]))
