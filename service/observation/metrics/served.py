"""``model_state``: what the model server says of each version, when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from prometheus_client.core import GaugeMetricFamily, Metric

from models.errors import KennelError
from service.budget import Budget
from service.observation.metrics.recent import Recent
from service.served.catalog import Catalog

STATES: Final = {
    "START": 10,
    "LOADING": 20,
    "AVAILABLE": 30,
    "UNLOADING": 40,
    "END": 50,
}
"""As in TensorFlow Serving's get_model_status.proto; 0 is unknown."""

_SECONDS: Final = 1.0
"""For all models: a model server that hangs must not hang the scrape."""

_States: TypeAlias = list[tuple[str, str, int]]


class ServedMetrics:
    """The state of every version, as far as the model server says it in time."""

    def __init__(self, catalog: Catalog) -> None:
        """Ask *catalog*."""
        self._catalog = catalog
        self._recent = Recent(self._ask)

    def collect(self) -> Iterator[Metric]:
        """One gauge; without samples while the model server is away."""
        codes = ", ".join(f"{code} {state}" for state, code in STATES.items())
        family = GaugeMetricFamily("model_state", codes, labels=("model", "version"))
        for model, version, code in self._recent():
            family.add_metric((model, version), code)
        yield family

    def _ask(self) -> _States:
        budget = Budget(_SECONDS)
        found: _States = []
        try:
            for name in self._catalog.names():
                for each in self._catalog.versions(name, budget.left()):
                    code = STATES.get(each.state, 0)
                    found.append((name, str(each.version), code))
        except KennelError:
            # The calls themselves are counted; what is known so far is told.
            return found
        return found
