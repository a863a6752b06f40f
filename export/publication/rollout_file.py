"""MODELS_DIR/rollouts.json, changed under the same lock as models.config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from export.publication.rollout_checks import check_closed
from export.publication.served import locked
from models.files import write_atomically
from models.rollouts import (
    PROMOTED,
    ROLLOUTS_FILE,
    SUPERSEDED,
    Rollout,
    read_rollouts,
    render_rollouts,
)

_After = TypeVar("_After", Rollout, Rollout | None)


def find_rollout(models_dir: Path, name: str) -> Rollout | None:
    """The last rollout of the model *name*.

    Raises:
        InvalidRequestError: rollouts.json is broken.
    """
    return read_rollouts(models_dir / ROLLOUTS_FILE).get(name)


def change_rollout(
    models_dir: Path, name: str, change: Callable[[Rollout | None], _After]
) -> _After:
    """Replace the rollout of the model *name* by what *change* makes of it.

    Raises:
        InvalidRequestError: rollouts.json is broken; nothing is changed.
        OSError: the disk is full or read-only; nothing is changed.
    """
    with locked(models_dir):
        return _replace(models_dir / ROLLOUTS_FILE, name, change)


def close_rollout(models_dir: Path, name: str, answering: int) -> None:
    """Version *answering* is about to answer: the last rollout has nothing to say.

    An aborted canary is held back still: a model server may have it loaded for a
    while. The caller holds the lock.

    Raises:
        ConflictError: a rollout goes on.
        InvalidRequestError, OSError: as `change_rollout`.
    """

    def close(rollout: Rollout | None) -> Rollout | None:
        check_closed(rollout)
        if rollout is None or answering == rollout.canary or rollout.state == PROMOTED:
            return None
        return replace(rollout, state=SUPERSEDED)

    _replace(models_dir / ROLLOUTS_FILE, name, close)


def _replace(
    path: Path, name: str, change: Callable[[Rollout | None], _After]
) -> _After:
    rollouts = read_rollouts(path)
    before = rollouts.pop(name, None)
    after = change(before)
    if after is not None:
        rollouts[name] = after
    if after != before:
        write_atomically(path, render_rollouts(rollouts.values()))
    return after
