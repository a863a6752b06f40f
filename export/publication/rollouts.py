"""What an operator does with a rollout, in the order that keeps a canary back.

rollouts.json holds a version back before models.config loads it, and lets go of it only
when it may answer.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

from export.publication.canaries import (
    name_both,
    promote,
    propose,
    stage,
    unstage,
)
from export.publication.listing import find_problem
from export.publication.rollout_checks import (
    check_closed,
    opened,
    running,
    still_starting,
)
from export.publication.rollout_file import change_rollout
from export.publication.served import change_served, served_model
from models.errors import ConflictError
from models.rollouts import ABORTED, PROMOTED, RUNNING, STARTING, Rollout


def begin_rollout(models_dir: Path, name: str, version: int, mirror: float) -> Rollout:
    """Hold *version* back, so that it can be loaded; no request reaches it yet.

    A start of the same version that was broken off is taken up again.

    Raises:
        NotFoundError: no such model or version.
        ConflictError: another rollout goes on, or *version* answers, is older than
            the one that does, or is broken.
        InvalidRequestError: a file in *models_dir* is broken.
    """

    def begin(before: Rollout | None) -> Rollout:
        if before and (before.state, before.canary) == (STARTING, version):
            return replace(before, mirror=mirror)
        check_closed(before)
        begun = propose(*served_model(models_dir, name), version, mirror)
        if problem := find_problem(models_dir / name / str(version)):
            message = f"{name} version {version} cannot be served: {problem}"
            raise ConflictError(message)
        return begun

    return change_rollout(models_dir, name, begin)


def load_canary(models_dir: Path, rollout: Rollout, needed: Collection[int]) -> None:
    """Have the canary loaded; other loaded versions stay where they are in *needed*.

    Raises:
        ConflictError: another command ended the rollout.
    """
    change_rollout(models_dir, rollout.model, partial(still_starting, rollout))
    change = partial(stage, rollout=rollout, needed=needed)
    change_served(models_dir, rollout.model, change)


def run_rollout(models_dir: Path, rollout: Rollout, percent: float) -> Rollout:
    """Label the canary, which is loaded, and give it its share of the requests.

    Raises:
        ConflictError: another command ended the rollout.
    """
    change_rollout(models_dir, rollout.model, partial(still_starting, rollout))
    change_served(models_dir, rollout.model, partial(name_both, rollout=rollout))

    def run(before: Rollout | None) -> Rollout:
        return replace(still_starting(rollout, before), state=RUNNING, percent=percent)

    return change_rollout(models_dir, rollout.model, run)


def set_shares(
    models_dir: Path, name: str, percent: float, mirror: float | None
) -> Rollout:
    """Give the canary another share; a *mirror* of None stays as it is.

    Raises:
        NotFoundError: no rollout goes on.
        ConflictError: the canary is still being loaded.
    """

    def change(before: Rollout | None) -> Rollout:
        rollout = running(name, before)
        kept = rollout.mirror if mirror is None else mirror
        return replace(rollout, percent=percent, mirror=kept)

    return change_rollout(models_dir, name, change)


def promote_canary(models_dir: Path, name: str) -> Rollout:
    """Let the canary answer from now on; the version before it stays loaded.

    Raises:
        NotFoundError: no rollout goes on.
        ConflictError: the canary is not loaded.
    """

    def all_of_it(before: Rollout | None) -> Rollout:
        return replace(running(name, before), percent=100)

    def end(before: Rollout | None) -> Rollout:
        return replace(running(name, before), state=PROMOTED)

    rollout = change_rollout(models_dir, name, all_of_it)
    change_served(models_dir, name, partial(promote, rollout=rollout))
    return change_rollout(models_dir, name, end)


def abort_rollout(models_dir: Path, name: str) -> Rollout:
    """Send the canary nothing more, then unload it; the stable version answers on.

    Raises:
        NotFoundError: no rollout goes on.
    """

    def abort(before: Rollout | None) -> Rollout:
        if before is not None and before.state == ABORTED:
            return before  # perhaps that was broken off before it had unloaded
        return replace(opened(name, before), state=ABORTED, percent=0)

    rollout = change_rollout(models_dir, name, abort)
    change_served(models_dir, name, partial(unstage, rollout=rollout))
    return rollout
