"""The model card: what a model says of itself, published inside every SavedModel.

The API and the workers learn labels, image size and clip bound from it over the wire.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from models.errors import ModelContractError
from models.names import normal_name
from models.spread import BINS, AnswerSpread
from models.storage import parse_json

SCHEMA: Final = 1

MAX_LEVELS: Final = 32
"""How deep a card may be nested; ours have four levels. Much deeper ones can be read,
but not be written into an answer."""


@dataclass(frozen=True)
class ModelCard:
    """One published version of a model.

    Attributes:
        labels: in column order of every output, in their normal form (`normal_name`).
        image_size: (height, width) of the pixels that the model expects.
        weights: where the pretrained weights came from: source, sha256, note.
        training: photos per class and part, split seed and grouping, sha256 of the
            file list, members and folds, parameters of one member: all, trained, and
            trained by each stage.
        temperature: divides the logits inside the graph; fitted on validation data.
        clip_bound: default upper bound of a probability; None means no clipping.
        clip_choice: how the bound was chosen.
        metrics: on validation data: accuracy, log losses, confusion matrix.
        explains: whether it can say where in a photo it sees a class.
        validation_spread: how the answers for the validation data are spread; None: it
            was exported before cards told it.
    """

    name: str
    version: int
    labels: tuple[str, ...]
    image_size: tuple[int, int]
    network: str
    recipe: str
    temperature: float
    clip_bound: float | None
    clip_choice: str = ""
    weights: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    git_revision: str = ""
    explains: bool = False
    validation_spread: AnswerSpread | None = None
    schema: int = SCHEMA

    def to_json(self) -> str:
        """The card as JSON text; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    def check_columns(self, columns: int) -> None:
        """Accept an answer of the version with so many *columns*, one a label.

        Raises:
            ModelContractError: it has another number of labels.
        """
        if columns != len(self.labels):
            message = (
                f"{self.name!r} version {self.version} answered {columns} columns for "
                f"{len(self.labels)} labels: export it again"
            )
            raise ModelContractError(message)

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelCard:
        """Read a card.

        Raises:
            ModelContractError: not a card, or one of a newer schema.
        """
        try:
            return cls._from_mapping(parse_json(text, MAX_LEVELS))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            message = f"the model's card cannot be read ({error}): export it again"
            raise ModelContractError(message) from error

    @classmethod
    def _from_mapping(cls, card: Mapping[str, Any]) -> ModelCard:
        if card["schema"] != SCHEMA:
            raise ValueError(f"schema {card['schema']}, this program reads {SCHEMA}")
        known = {each.name for each in dataclasses.fields(cls)}
        values = {name: value for name, value in card.items() if name in known}
        height, width = card["image_size"]
        values["image_size"] = (int(height), int(width))
        if min(values["image_size"]) < 1:
            raise ValueError(f"image_size {height} x {width} holds no pixel")
        values["labels"] = tuple(normal_name(str(label)) for label in card["labels"])
        if len(values["labels"]) < 2:
            raise ValueError(f"labels {values['labels']}, at least two are needed")
        if (spread := card.get("validation_spread")) is not None:
            values["validation_spread"] = _spread(spread, len(values["labels"]))
        return cls(**values)


def _spread(spread: Mapping[str, Any], labels: int) -> AnswerSpread:
    read = AnswerSpread(*(tuple(map(int, spread[k])) for k in ("scores", "labels")))
    if (len(read.scores), len(read.labels)) != (BINS, labels):
        raise ValueError(f"validation_spread {spread}, {BINS} scores are needed")
    return read
