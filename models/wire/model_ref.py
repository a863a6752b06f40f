"""Which model answers, as people and as TensorFlow Serving write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.errors import NotFoundError
from models.wire import messages


@dataclass(frozen=True)
class ModelRef:
    """Which model answers: the newest version, a pinned one, or one by its label."""

    name: str
    version: int | None = None
    label: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether it names a version or a label, and not whatever answers."""
        return self.version is not None or self.label is not None

    def __str__(self) -> str:
        """As in error messages: name, name version 3, name label canary."""
        if self.version is not None:
            return f"{self.name!r} version {self.version}"
        return f"{self.name!r} label {self.label!r}" if self.label else repr(self.name)


def model_spec(model: ModelRef, signature: str) -> Any:
    """The ModelSpec of a request to a *signature* of *model*."""
    spec = messages.ModelSpec(name=model.name, signature_name=signature)
    if model.version is not None:
        spec.version.value = model.version
    elif model.label is not None:
        spec.version_label = model.label
    return spec


def not_served(model: ModelRef) -> NotFoundError:
    """What to raise where *model* is not there; its code says what of it is missing."""
    remedy = "GET /v1/models lists what is served"
    if model.version is not None:
        code = "version_not_found"
    elif model.label is not None:
        code = "label_not_found"
    else:
        code = "model_not_found"
    return NotFoundError(f"model {model} is not served: {remedy}", code=code)
