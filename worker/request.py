"""What a job is asked to do: checked once, then pinned in the manifest."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from models.contract import ModelCard
from models.errors import InvalidRequestError, quoted
from models.images.preprocessing import NEWEST, Preprocessing
from models.probabilities import check_clip_bound
from models.text import normal_name
from models.wire.config import check_model_name

KAGGLE_BINARY: Final = "kaggle-binary"
KAGGLE_MULTICLASS: Final = "kaggle-multiclass"
LABEL: Final = "label"
FULL: Final = "full"
BY_DEFAULT: Final = "default model"
"""The `pin` of a job that named neither model nor version."""

FORMATS: Final = (KAGGLE_BINARY, KAGGLE_MULTICLASS, LABEL, FULL)

PRIOR: Final = "prior"
FAIL: Final = "fail"

MAX_UNREADABLE: Final = "5%"
"""Of the images; where a job does not say, `FEW_UNREADABLE` are allowed too."""

FEW_UNREADABLE: Final = 3

HIGH: Final = "high"
NORMAL: Final = "normal"
LOW: Final = "low"
PRIORITIES: Final = (HIGH, NORMAL, LOW)


_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%", re.ASCII)
_COUNT: Final = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True)
class JobRequest:
    """A folder to classify, the pinned model version, and what the CSV looks like.

    Attributes:
        input: folder below INPUT_ROOT, as the user wrote it; of an upload its name.
        clip: upper bound of a probability; None means no clipping.
        on_unreadable: "prior" writes 1/K for a file that is no image, "fail" ends
            the job naming all of them.
        max_unreadable: more unreadable images end the job: a share of all images, as
            "5%", or a count, as "20"; None means 5 %, and at least 3 images.
        positive: label whose probability kaggle-binary writes; None means the last.
        pin: how the user named the version, as in "label=canary"; None: the newest;
            `BY_DEFAULT`: the newest of the default model.
        archive: sha256 of the archive that was uploaded; None: a folder.
        priority: which job gets workers first; between equal ones they are shared.
        manifest: sha256 of the CSV that lists the images; None: all of them.
        sample_submission: sha256 of the CSV whose header and ids are wanted.
        header: that header, to the letter; None: the format's own.
        preprocessing: how an image becomes the version's pixels.
        batch_invariant: whether an image has the same answer in every batch, also alone.
        label_numbers: the format label writes a label's number from 0, not its name.
        owner: name of the API key that submitted it; None: the API was open.
        card: the version's, for the report; kept beside the manifest, not in it.
    """

    model: str
    version: int
    labels: tuple[str, ...]
    image_size: tuple[int, int]
    input: str
    format: str = KAGGLE_BINARY
    clip: float | None = None
    on_unreadable: str = PRIOR
    max_unreadable: str | None = None
    positive: str | None = None
    pin: str | None = None
    archive: str | None = None
    priority: str = NORMAL
    manifest: str | None = None
    sample_submission: str | None = None
    header: tuple[str, ...] | None = None
    preprocessing: Preprocessing = NEWEST
    batch_invariant: bool = False
    label_numbers: bool = False
    owner: str | None = None
    card: ModelCard | None = field(default=None, compare=False, repr=False)

    @property
    def has_own_ids(self) -> bool:
        """Whether the ids are those of the CSV whatever the format, as a file says."""
        return self.manifest is not None or self.sample_submission is not None

    @property
    def pinned_label(self) -> str | None:
        """The version's label, if that is how the user named the version."""
        kind, _, label = (self.pin or "").partition("=")
        return label if kind == "label" else None

    @property
    def written_label(self) -> str | None:
        """The label whose probability kaggle-binary writes; None: another format."""
        if self.format != KAGGLE_BINARY:
            return None
        return self.positive or self.labels[-1]

    @property
    def numbered_labels(self) -> tuple[str, ...] | None:
        """The labels in the order of the numbers that the CSV has for them; None: none."""
        return self.labels if self.label_numbers else None

    def with_own_positive(self) -> JobRequest:
        """The same with `positive` as the model spells it, whatever its Unicode form."""
        if self.positive is None:
            return self
        own = find_label(self.labels, self.positive) or self.positive
        return dataclasses.replace(self, positive=own)

    def check(self) -> None:
        """Accept the request; the folder is looked at when it is listed.

        Raises:
            InvalidRequestError: a value that cannot be used.
        """
        check_model_name(self.model)
        if self.version < 1 or len(self.labels) < 2 or min(self.image_size) < 1:
            message = (
                f"model {quoted(self.model)}: version {self.version}, "
                f"{len(self.labels)} labels and image size {self.image_size} "
                "describe no model"
            )
            raise InvalidRequestError(message)
        _check_choice("format", self.format, FORMATS)
        _check_choice("on_unreadable", self.on_unreadable, (PRIOR, FAIL))
        _check_choice("priority", self.priority, PRIORITIES)
        if self.max_unreadable is not None:
            _check_max_unreadable(self.max_unreadable)
        if self.clip is not None:
            check_clip_bound(self.clip, len(self.labels))
        self._check_positive()

    def allowed_unreadable(self, total: int) -> int:
        """How many of *total* images may be unreadable: never all of them."""
        if self.on_unreadable == FAIL:
            return 0
        asked = self.max_unreadable or MAX_UNREADABLE
        share = _SHARE.fullmatch(asked)
        # Exactly: as floats, 0.29 * 100 is less than 29.
        allowed = int(Fraction(share[1]) * total / 100) if share else int(asked)
        if self.max_unreadable is None:
            allowed = max(allowed, FEW_UNREADABLE)
        return min(allowed, total - 1)

    def asks_the_same(self, other: JobRequest) -> bool:
        """Whether a user who repeats a submit asked for the same.

        Model and version are compared as the user named them: whoever submits gets the
        newest of the default model, and a repeated submit must find its job during a
        rollout, or after another model became the default. A clip bound may come from
        the version's card, so it counts only between equal versions. The priority is no
        part of what was asked: a repeat finds its job, which keeps its own.
        """
        both_by_default = self.pin == other.pin == BY_DEFAULT
        if self._asked() != other._asked():
            return False
        if self.model != other.model:
            return both_by_default
        return self.version != other.version or self.clip == other.clip

    def to_json(self) -> dict[str, Any]:
        """The request as a JSON object; `from_json` reads it back.

        Without its card and owner, which a manifest keeps elsewhere.
        """
        content = dataclasses.asdict(dataclasses.replace(self, card=None))
        del content["card"]
        # Older versions refuse a member that they do not know.
        del content["owner"]
        if self.max_unreadable is None:
            del content["max_unreadable"]
        if self.preprocessing is Preprocessing.WHOLE:
            del content["preprocessing"]
        if not self.batch_invariant:
            del content["batch_invariant"]
        if not self.label_numbers:
            del content["label_numbers"]
        return content

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> JobRequest:
        """Read a request.

        Raises:
            KeyError, TypeError, ValueError: not a request.
        """
        height, width = values["image_size"]
        labels = tuple(str(label) for label in values["labels"])
        rest = {**values, "image_size": (int(height), int(width)), "labels": labels}
        # Jobs from before this member decode as it was done then.
        first = Preprocessing.WHOLE
        rest["preprocessing"] = Preprocessing(values.get("preprocessing", first))
        if rest.get("header") is not None:
            rest["header"] = tuple(str(name) for name in rest["header"])
        return cls(**rest)

    def _asked(self) -> tuple[str | None, ...]:
        photos = self.archive or self.input
        pin = None if self.pin == BY_DEFAULT else self.pin
        choices = (self.format, self.on_unreadable, self.max_unreadable, self.positive)
        sheets = (self.manifest, self.sample_submission)
        return (pin, photos, *choices, *sheets)

    def _check_positive(self) -> None:
        known = ", ".join(self.labels)
        if self.positive is not None and self.positive not in self.labels:
            message = (
                f"positive={quoted(self.positive)} is no label: the labels are {known}"
            )
            raise InvalidRequestError(message)
        unclear = self.format == KAGGLE_BINARY and self.positive is None
        if unclear and len(self.labels) > 2:
            message = (
                f"format={KAGGLE_BINARY!r} writes one probability, but the model has "
                f"{len(self.labels)} labels: name one as positive, or use {LABEL!r} for "
                f"the most probable label, or {KAGGLE_MULTICLASS!r} for all probabilities"
            )
            raise InvalidRequestError(message)


def find_label(labels: Sequence[str], name: str) -> str | None:
    """The one of *labels* that is called *name*, in any Unicode form; None: none is."""
    if name in labels:
        return name
    wanted = normal_name(name)
    return next((label for label in labels if normal_name(label) == wanted), None)


def _check_max_unreadable(text: str) -> None:
    share = _SHARE.fullmatch(text)
    usable = float(share[1]) <= 100 if share else _COUNT.fullmatch(text)
    if not usable:
        message = (
            f"max_unreadable={quoted(text)} is neither a share of the images from 0% to "
            "100%, as in 5%, nor a count, as in 20"
        )
        raise InvalidRequestError(message)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        message = f"{name}={quoted(value)} is not possible: use {', '.join(choices)}"
        raise InvalidRequestError(message)
