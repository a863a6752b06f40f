"""``model_*``: what the model server and the cards say of each version, when asked."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from prometheus_client.core import GaugeMetricFamily, Metric

from models.contract import ModelCard
from models.errors import KennelError
from models.wire.messages import AVAILABLE
from service.http.budget import Budget
from service.predict.catalog import Catalog
from service.telemetry.metrics import BIN_NAMES, MOST_LABELS

MODEL_STATES: Final = {
    "START": 10,
    "LOADING": 20,
    "AVAILABLE": 30,
    "UNLOADING": 40,
    "END": 50,
}
"""As in TensorFlow Serving's get_model_status.proto; 0 is unknown."""

_SECONDS: Final = 1.0
"""For all models: a model server that hangs must not hang the scrape."""

_OF_VERSION: Final = ("model", "version")
_Key: TypeAlias = tuple[str, int]


@dataclass(frozen=True)
class _Look:
    names: tuple[str, ...]
    states: dict[_Key, str]
    answered: bool
    cards: dict[_Key, ModelCard | None]


class ServedMetrics:
    """Every version, as far as the model server tells of it in time."""

    def __init__(self, catalog: Catalog) -> None:
        """Ask *catalog*."""
        self._catalog = catalog
        self._recent = Recent(self._ask)
        self._cards: dict[_Key, ModelCard | None] = {}

    def collect(self) -> Iterator[Metric]:
        """The gauges; while the model server is away, no version is available."""
        look = self._recent()
        if look.names:
            text = "The model server answers."
            yield GaugeMetricFamily("model_server_up", text, value=look.answered)
        codes = ", ".join(f"{code} {state}" for state, code in MODEL_STATES.items())
        family = GaugeMetricFamily("model_state", codes, labels=_OF_VERSION)
        for (model, version), state in look.states.items():
            family.add_metric((model, str(version)), MODEL_STATES.get(state, 0))
        yield family
        yield _available(look)
        yield from _spreads(look)

    def _ask(self) -> _Look:
        budget = Budget(_SECONDS)
        names, states, answered = self._catalog.names(), {}, False
        # The calls themselves are counted; what is known so far is told.
        with suppress(KennelError):
            for name in names:
                for each in self._catalog.versions(name, budget.left()):
                    states[name, each.version] = each.state
            answered = True
            self._read_cards(states, budget)
        return _Look(names, states, answered, self._cards)

    def _read_cards(self, states: dict[_Key, str], budget: Budget) -> None:
        # Once for each version, also if it has none: a scrape is no load.
        loaded = [key for key, state in states.items() if state == AVAILABLE]
        cards = {key: self._cards[key] for key in loaded if key in self._cards}
        for key in loaded:
            if key not in cards:
                cards[key] = self._catalog.published_card(*key, budget.left())
        self._cards = cards


def _available(look: _Look) -> GaugeMetricFamily:
    loaded = Counter(
        model for (model, _), state in look.states.items() if state == AVAILABLE
    )
    text = "Versions of a model that answer."
    family = GaugeMetricFamily("model_versions_available", text, labels=("model",))
    for name in look.names:
        family.add_metric((name,), loaded[name])
    return family


def _spreads(look: _Look) -> Iterator[Metric]:
    scores, labels = (
        GaugeMetricFamily(
            f"model_validation_{what}s",
            f"Validation photos of the card, by {what}.",
            labels=(*_OF_VERSION, name),
        )
        for what, name in (("score", "bin"), ("label", "label"))
    )
    for (model, version), card in sorted(look.cards.items()):
        if card is not None and card.validation_spread is not None:
            key = (model, str(version))
            _add(scores, key, BIN_NAMES, card.validation_spread.scores)
            if len(card.labels) <= MOST_LABELS:
                _add(labels, key, card.labels, card.validation_spread.labels)
    yield scores
    yield labels


def _add(
    family: GaugeMetricFamily,
    key: tuple[str, str],
    names: tuple[str, ...],
    counts: tuple[int, ...],
) -> None:
    for name, count in zip(names, counts, strict=True):
        family.add_metric((*key, name), count)


FRESH_SECONDS: Final = 2.0

_Answer = TypeVar("_Answer")


class Recent(Generic[_Answer]):
    """Asks once in a while; thread-safe: who comes meanwhile waits for the answer."""

    def __init__(
        self, ask: Callable[[], _Answer], fresh_seconds: float = FRESH_SECONDS
    ) -> None:
        """Keep what *ask* returns for *fresh_seconds*."""
        self._ask = ask
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._answer: _Answer
        self._asked: float | None = None

    def __call__(self) -> _Answer:
        """The answer, fresh or recent."""
        with self._lock:
            now = time.monotonic()
            if self._asked is None or now - self._asked > self._fresh_seconds:
                self._answer = self._ask()
                self._asked = time.monotonic()
            return self._answer
