"""The API's answers as frozen dataclasses.

mypy finds a misspelt attribute, and an AttributeError names it, where a dictionary
would give a KeyError far away.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

OVER: Final = frozenset({"succeeded", "failed", "cancelled"})
_PROGRESS: Final = ("done", "total", "unreadable")


def having(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A reader that returns an answer as it is; KeyError without all of *names*."""

    def read(content: dict[str, Any]) -> dict[str, Any]:
        for name in names:
            content[name]
        return content

    return read


@dataclass(frozen=True)
class ImageProblem:
    """Why one image has no prediction; *code* is for programs, *detail* for people."""

    name: str | None
    code: str
    detail: str


@dataclass(frozen=True)
class ImagePrediction:
    """The prediction for one image.

    Attributes:
        label: the most probable label; None if there is an *error*.
        probabilities: by label, clipped.
        raw: probabilities by label, not clipped.
        error: why the image has no prediction.
    """

    name: str | None
    label: str | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    raw: Mapping[str, float] = field(default_factory=dict)
    error: ImageProblem | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read one entry of ``predictions``."""
        name = content["name"]
        if "error" in content:
            error = content["error"]
            return cls(name, error=ImageProblem(name, error["code"], error["detail"]))
        return cls(name, content["label"], content["probabilities"], content["raw"])

    def to_json(self) -> dict[str, Any]:
        """The entry as the API writes it."""
        if self.error is not None:
            error = {"code": self.error.code, "detail": self.error.detail}
            return {"name": self.name, "error": error}
        content = dataclasses.asdict(self)
        del content["error"]
        return content


@dataclass(frozen=True)
class Answer:
    """Predictions for some images, in their order, all by one version.

    Attributes:
        model, version: which answered; None if no image could be decoded.
    """

    model: str | None
    version: int | None
    labels: tuple[str, ...]
    predictions: tuple[ImagePrediction, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the answer of POST /v1/predict."""
        return cls(
            content["model"],
            content["version"],
            tuple(content["labels"]),
            tuple(ImagePrediction.from_json(each) for each in content["predictions"]),
        )

    @classmethod
    def failed(cls, problems: Iterable[ImageProblem]) -> Self:
        """An answer that holds errors only."""
        entries = (ImagePrediction(each.name, error=each) for each in problems)
        return cls(None, None, (), tuple(entries))

    @classmethod
    def joined(cls, parts: Iterable[Answer]) -> Self:
        """One answer for the images of all *parts*, in their order."""
        known = list(parts)
        answers = (part for part in known if part.model is not None)
        first = next(answers, cls.failed(()))
        predictions = tuple(each for part in known for each in part.predictions)
        return cls(first.model, first.version, first.labels, predictions)

    def to_json(self) -> dict[str, Any]:
        """The answer as the API writes it."""
        return {
            "model": self.model,
            "version": self.version,
            "labels": list(self.labels),
            "predictions": [each.to_json() for each in self.predictions],
        }


@dataclass(frozen=True)
class Job:
    """The status of a folder job at one moment.

    Attributes:
        state: queued, running, succeeded, failed or cancelled.
        done: images that are finished, unreadable ones included.
        error: why the job failed.
        unreadable_files: id, file, code and detail of the first hundred.
        content: the whole status as the API sent it.
    """

    id: str
    state: str
    model: str
    version: int
    input: str
    done: int
    total: int
    unreadable: int
    error: str | None
    unreadable_files: tuple[Mapping[str, str], ...]
    content: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def is_over(self) -> bool:
        """Whether the job succeeded, failed or was cancelled."""
        return self.state in OVER

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read a job's status."""
        return cls(
            **{name: content[name] for name in ("id", "state", "model", "version")},
            **{name: content["progress"][name] for name in _PROGRESS},
            input=content["input"],
            error=content["error"],
            unreadable_files=tuple(content["unreadable_files"]),
            content=content,
        )
