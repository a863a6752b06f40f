"""How the answers of this service are spread since it started, over all its processes."""

from __future__ import annotations

from prometheus_client.registry import Collector

from models.contract import AnswerSpread, ModelCard
from service.observation.metrics.spreads import BIN_NAMES


def live_spread(instruments: Collector, card: ModelCard) -> AnswerSpread:
    """What *instruments* counted for the model and version of *card*."""
    asked = {"model": card.name, "version": str(card.version)}
    samples = [
        sample
        for family in instruments.collect()
        for sample in family.samples
        if asked.items() <= sample.labels.items()
    ]
    scores, labels = (
        {each.labels[by]: int(each.value) for each in samples if each.name == name}
        for name, by in (
            ("inference_scores_total", "bin"),
            ("inference_labels_total", "label"),
        )
    )
    return AnswerSpread(
        tuple(scores.get(name, 0) for name in BIN_NAMES),
        tuple(labels.get(label, 0) for label in card.labels),
    )
