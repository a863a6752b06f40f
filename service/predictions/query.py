"""What a client asks for beside its images: model, version, clipping, how many labels.

Whatever is not understood is refused by name: a parameter that is silently ignored
would be an answer to another question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from werkzeug.datastructures import MultiDict

from models.contract import ModelCard
from models.errors import InvalidRequestError, quoted
from models.probabilities import check_clip_bound, parse_clip
from models.wire.messages import ModelRef
from service.once_each import once_each
from service.served.catalog import Catalog

PARAMETERS: Final = ("model", "version", "label", "clip", "top")

_POSITIVE: Final = re.compile(r"[1-9][0-9]{0,17}")
_LABEL: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class PredictionQuery:
    """The query of a prediction; what depends on the card is checked against it."""

    model: ModelRef
    clip: str | None = None
    top: int | None = None

    def bound(self, card: ModelCard) -> float | None:
        """The clip bound that applies to *card*'s answers; None: no clipping.

        Raises:
            InvalidRequestError: the bound does not fit the number of labels.
        """
        bound = parse_clip(self.clip, card.clip_bound)
        if bound is not None:
            check_clip_bound(bound, len(card.labels))
        return bound

    def accept(self, card: ModelCard) -> None:
        """Accept *card* as the one that answers this query.

        Raises:
            InvalidRequestError: ``clip`` or ``top`` does not fit its labels.
        """
        self.bound(card)
        if self.top is not None and self.top > len(card.labels):
            message = f"top={self.top}: {card.name!r} has {len(card.labels)} labels"
            raise InvalidRequestError(message)


def read_query(
    arguments: MultiDict[str, str],
    catalog: Catalog,
    known: tuple[str, ...] = PARAMETERS,
) -> PredictionQuery:
    """The query in the URL's *arguments*; *known* are the parameters that it may have.

    Raises:
        InvalidRequestError: unknown or repeated parameters, or impossible values.
        NotFoundError: there is no such model.
        ModelUnavailableError: none is named and none is known yet.
    """
    query = once_each(arguments, known)
    model = read_model(query, catalog)
    parse_clip(query.get("clip"), None)
    return PredictionQuery(model, query.get("clip"), _positive(query, "top"))


def read_model(query: Mapping[str, str], catalog: Catalog) -> ModelRef:
    """Which model, and which version of it, the parameters of *query* name.

    Raises:
        InvalidRequestError: impossible values, or a version and a label.
        NotFoundError: there is no such model.
        ModelUnavailableError: none is named and none is known yet.
    """
    version = _positive(query, "version")
    label = query.get("label")
    if version is not None and label is not None:
        raise InvalidRequestError("version and label: use one of the two")
    if label is not None and not _LABEL.fullmatch(label):
        message = (
            f"label={quoted(label)}: use up to 64 letters, digits, '.', '_' and '-'"
        )
        raise InvalidRequestError(message)
    return ModelRef(catalog.find(query.get("model")), version, label)


def _positive(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not _POSITIVE.fullmatch(text):
        raise InvalidRequestError(
            f"{name}={quoted(text)} is not a positive whole number"
        )
    return int(text)
