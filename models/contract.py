"""The contract of a published model: SavedModel names, card, answer spread, known answers.

The exporter, the model servers and the client share these names. A change here changes the
wire format: versions that were published before would stop answering.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelContractError
from models.files import parse_json
from models.images.preprocessing import NEWEST, Preprocessing
from models.probabilities import Probabilities
from models.text import normal_name

SERVING_SIGNATURE: Final = "serving_default"
ENCODED_SIGNATURE: Final = "encoded"
DESCRIBE_SIGNATURE: Final = "describe"
EXPLAIN_SIGNATURE: Final = "explain"
"""Only where the network has spatial maps; the card's `explains` says so."""

IMAGES_INPUT: Final = "images"
REQUEST_INPUT: Final = "request"
CLASSES_INPUT: Final = "classes"

PROBABILITIES_OUTPUT: Final = "probabilities"
LOGITS_OUTPUT: Final = "logits"
CARD_OUTPUT: Final = "card"
HEATMAPS_OUTPUT: Final = "heatmaps"
CLASSES_OUTPUT: Final = "classes"

MOST_PROBABLE: Final = -1
"""In a request to explain: stands for the number of the image's most probable class."""

CARD_FILE: Final = "card.json"
"""The model card, written beside ``saved_model.pb``."""

REPORT_FILE: Final = "assets.extra/report.html"
"""The training report, where there is one; model servers leave it alone."""

WARMUP_FILE: Final = "assets.extra/tf_serving_warmup_requests"
"""Where TensorFlow Serving looks for warm-up records (its ``saved_model_warmup``)."""

KNOWN_ANSWERS_FILE: Final = "assets.extra/known_answers.npz"
"""The `KnownAnswers` of the version; versions from before this file have none."""

MAX_BATCH_SIZE: Final = 32
"""Images in one call: throughput is flat past 16 to 32 on CPU and on an A100."""

BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32)
"""Batch sizes that are warmed up before a version counts as ready."""

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""gRPC message limit on both sides; gRPC's own default, 4 MiB, is 27 images."""

INT8: Final = "int8"
"""The precision of versions whose frozen convolutions compute in eight bits."""

FLOAT16_REMEDY: Final = "kennel export RUN --precision float16, or serve it on CPUs"
"""What to do about an int8 version on a GPU."""

CARD_SCHEMA: Final = 1

MAX_CARD_LEVELS: Final = 32
"""How deep a card may be nested; ours have five levels. Much deeper JSON can be read, but
not written again."""


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
        explains: whether the version has heat maps, which show where in a photo it sees
            a class.
        precision: arithmetic of the network: "float32", "bfloat16", "float16" or "int8";
            "" in cards from before this field.
        validation_spread: the spread of the answers for the validation data; None in
            cards from before this field.
        precisions: the version's precision beside others, as its export measured them: a
            summary, the machine's processor, the number of photos, and for each precision
            accuracy, log loss and images/s by batch size. Empty where float32 was asked
            for, and in cards from before this field.
        preprocessing: how an image becomes the pixels that the model was trained on.
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
    precision: str = ""
    validation_spread: AnswerSpread | None = None
    precisions: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Preprocessing = NEWEST
    schema: int = CARD_SCHEMA

    def to_json(self) -> str:
        """The card as JSON text; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    def takes_pixels_of(self, other: ModelCard) -> bool:
        """Whether an image decoded for *other* has the pixels that this version expects."""
        return (self.image_size, self.preprocessing) == (
            other.image_size,
            other.preprocessing,
        )

    @property
    def batch_invariant(self) -> bool:
        """Whether a photo has the same answer, to the bit, in every batch and alone.

        Sums of integers are exact in any order, and the head of an int8 version never
        sees a single row. Other precisions add up a lone photo in another order.
        """
        return self.precision == INT8

    @property
    def gpu_refusal(self) -> str:
        """Why no model server on a GPU may serve the version; empty if one may."""
        if self.precision != INT8:
            return ""
        return (
            f"version {self.version} of {self.name!r} is int8, and TensorFlow has no int8 "
            "convolutions for GPUs"
        )

    def check_columns(self, columns: int) -> None:
        """Accept an answer with that many *columns*: one for each label.

        Raises:
            ModelContractError: the card has another number of labels.
        """
        if columns != len(self.labels):
            message = (
                f"{self.name!r} version {self.version} answered {columns} columns for "
                f"{len(self.labels)} labels: export it again"
            )
            raise ModelContractError(message)

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelCard:
        """The card in the JSON *text*.

        Raises:
            ModelContractError: *text* is no card, or one of a newer schema.
        """
        try:
            return cls._from_mapping(parse_json(text, MAX_CARD_LEVELS))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            message = f"the model's card cannot be read ({error}): export it again"
            raise ModelContractError(message) from error

    @classmethod
    def _from_mapping(cls, card: Mapping[str, Any]) -> ModelCard:
        if card["schema"] != CARD_SCHEMA:
            raise ValueError(
                f"schema {card['schema']}, this program reads {CARD_SCHEMA}"
            )
        known = {each.name for each in dataclasses.fields(cls)}
        values = {name: value for name, value in card.items() if name in known}
        height, width = card["image_size"]
        values["image_size"] = (int(height), int(width))
        if min(values["image_size"]) < 1:
            raise ValueError(f"image_size {height} x {width} holds no pixel")
        values["labels"] = tuple(normal_name(str(label)) for label in card["labels"])
        if len(values["labels"]) < 2:
            raise ValueError(f"labels {values['labels']}, at least two are needed")
        # Cards from before this field are of models that were trained in the first way.
        first = Preprocessing.WHOLE
        values["preprocessing"] = Preprocessing(card.get("preprocessing", first))
        if (spread := card.get("validation_spread")) is not None:
            values["validation_spread"] = _read_spread(spread, len(values["labels"]))
        return cls(**values)


def _read_spread(spread: Mapping[str, Any], labels: int) -> AnswerSpread:
    read = AnswerSpread(*(tuple(map(int, spread[k])) for k in ("scores", "labels")))
    if (len(read.scores), len(read.labels)) != (SCORE_BINS, labels):
        raise ValueError(f"validation_spread {spread}, {SCORE_BINS} scores are needed")
    return read


SCORE_BINS: Final = 10
"""Number of bins of equal width over 0..1; the last one includes 1.0."""

NOTABLE_PSI: Final = 0.2
"""Stability index above which a shift is significant; below half of it there is none. The
customary limits are 0.1 and 0.25 (N. Siddiqi, Credit Risk Scorecards, 2006)."""

ENOUGH_IMAGES: Final = 500
"""With fewer images the stability index is large by chance alone."""

_PRIOR: Final = 0.5
"""Added to each count, after Jeffreys: an empty bin would make the index infinite."""


@dataclass(frozen=True)
class AnswerSpread:
    """Counts of answered images by score and by label.

    `export` writes the spread of the validation photos into the card, and the service
    counts that of the photos in requests: if the two differ, so do the photos (or the
    model).
    The score of an image is the last label's probability where there are two labels, else
    the largest probability. Probabilities are calibrated and not clipped.

    Attributes:
        scores: by the bin of their score, lowest first.
        labels: by their most probable label, in column order.
    """

    scores: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def images(self) -> int:
        """The number of images counted."""
        return sum(self.scores)


def spread_of(probabilities: Probabilities) -> AnswerSpread:
    """The spread of the answers *probabilities* [N, K]."""
    bins, winners = place_in_bins(probabilities)
    return AnswerSpread(
        tuple(np.bincount(bins, minlength=SCORE_BINS).tolist()),
        tuple(np.bincount(winners, minlength=probabilities.shape[1]).tolist()),
    )


def place_in_bins(
    probabilities: Probabilities, bins: int = SCORE_BINS
) -> tuple[list[int], list[int]]:
    """The bin of each image's score, and the column of its most probable label."""
    binary = probabilities.shape[1] == 2
    scores = probabilities[:, -1] if binary else probabilities.max(axis=1)
    winners: list[int] = probabilities.argmax(axis=1).tolist()
    return [score_bin(score, bins) for score in scores.tolist()], winners


def score_bin(score: float, bins: int) -> int:
    """The number of the bin that holds *score*: *bins* of equal width divide 0..1."""
    return min(int(score * bins), bins - 1)


def stability_index(expected: Sequence[float], actual: Sequence[float]) -> float:
    """The population stability index of *actual* counts against *expected* ones.

    sum((a - e) ln(a / e)) over the shares of the bins: Kullback-Leibler's divergence
    taken in both directions (Jeffreys 1946; as an index of stability, Siddiqi 2006).
    Without any shift its expectation is about (B - 1)(1/N + 1/M) for B bins and samples
    of N and M: with `ENOUGH_IMAGES` of each, a fifth of `NOTABLE_PSI`.
    """
    pairs = zip(_shares(expected), _shares(actual), strict=True)
    return sum((a - e) * math.log(a / e) for e, a in pairs)


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts) + _PRIOR * len(counts)
    return [(count + _PRIOR) / total for count in counts]


KNOWN_PHOTOS: Final = 4
"""Photos with known answers: one of VGG16's size is 0.15 MB."""


@dataclass(frozen=True)
class Tolerance:
    """The largest difference of two machines' answers for the same pixels.

    Attributes:
        probability: of a probability.
        logit: of a logit, as a share of the photo's largest one, or of 1 if that is less:
            where a probability is almost 0 or 1, it hides what a logit shows.
    """

    probability: float
    logit: float


_FLOAT32_TOLERANCE: Final = Tolerance(1e-5, 1e-4)
_FLOAT16_TOLERANCE: Final = Tolerance(2e-3, 2e-2)
_TOLERANCES: Final = {
    "bfloat16": Tolerance(1e-2, 1e-1),
    "float16": _FLOAT16_TOLERANCE,
}
"""Half precision keeps 8 or 11 of float32's 24 bits, and processors round at other places. The
demo's VGG16 (`pooled` head), computed for AVX-512, for AVX2 (not bfloat16) and without oneDNN,
differed by 1.2e-7 in a probability in float32, by 1.2e-4 in float16, and by 3.8e-4 and 0.9 % of
a logit in bfloat16."""


def tolerance_of(precision: str, *, on_gpu: bool = False) -> Tolerance:
    """The tolerance for a version of that *precision*.

    The integers of int8 are the same everywhere, and its head is float32. GPUs multiply
    float32 with the bits of float16 (TensorFloat-32, which TensorFlow switches on).
    """
    exact = _FLOAT16_TOLERANCE if on_gpu else _FLOAT32_TOLERANCE
    return _TOLERANCES.get(precision, exact)


@dataclass(frozen=True)
class Deviation:
    """The difference of one photo's answer from the known one.

    Attributes:
        photo: its file.
        probability, logit: the differences, as in `Tolerance`.
        excess: the larger one, in units of what is allowed; not a number if a logit is
            none.
    """

    photo: str
    probability: float
    logit: float
    excess: float

    @property
    def is_allowed(self) -> bool:
        """Whether both differences are within the tolerance."""
        return self.excess <= 1


@dataclass(frozen=True)
class KnownAnswers:
    """A few validation photos, and what the version answered for them at its export.

    Whoever serves the version has to answer the same, within a `Tolerance`.

    Attributes:
        photos: their files, relative to the data folder.
        pixels: uint8 [N, H, W, 3], of the model's size.
        probabilities: float32 [N, K], of the published graph; so are *logits*.
    """

    photos: tuple[str, ...]
    pixels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """The content of the file; `from_bytes` reads it back. Equal for equal answers."""
        file = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _KNOWN_TYPES}
        np.savez(file, photos=np.array(self.photos), **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> KnownAnswers:
        """The known answers in the file's *content*.

        Raises:
            ModelContractError: the file is damaged, or is none of ours.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                photos = tuple(str(photo) for photo in arrays["photos"])
                values = {name: arrays[name] for name in _KNOWN_TYPES}
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            message = f"the known answers cannot be read ({error}): export it again"
            raise ModelContractError(message) from error
        for name, (dtype, dimensions) in _KNOWN_TYPES.items():
            array = values[name]
            shape = (array.dtype, array.ndim, len(array) if array.ndim else 0)
            if shape != (dtype, dimensions, len(photos)):
                message = (
                    f"the known {name} are {array.dtype} {array.shape}: export it again"
                )
                raise ModelContractError(message)
        return cls(photos, **values)

    def largest_deviation(
        self,
        probabilities: NDArray[np.float32],
        logits: NDArray[np.float32],
        tolerance: Tolerance,
    ) -> Deviation:
        """The deviation of the photo that exceeds *tolerance* most, or comes nearest.

        Raises:
            ModelContractError: answers for other photos or labels.
        """
        if probabilities.shape != self.probabilities.shape:
            message = f"answers {probabilities.shape}, known {self.probabilities.shape}"
            raise ModelContractError(message)
        scale = np.maximum(np.abs(self.logits).max(axis=1), 1)
        by_logit = np.abs(logits - self.logits).max(axis=1) / scale
        by_probability = np.abs(probabilities - self.probabilities).max(axis=1)
        excess = np.maximum(
            by_probability / tolerance.probability, by_logit / tolerance.logit
        )
        worst = int(excess.argmax())  # of a value that is no number, if there is one
        differences = (
            each[worst].item() for each in (by_probability, by_logit, excess)
        )
        return Deviation(self.photos[worst], *differences)


_KNOWN_TYPES: Final = {
    "pixels": (np.dtype(np.uint8), 4),
    "probabilities": (np.dtype(np.float32), 2),
    "logits": (np.dtype(np.float32), 2),
}
