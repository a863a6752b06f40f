"""Rollouts: start, share, promote and abort a canary; no request reaches it too early.

rollouts.json holds a version back before models.config loads it, and releases it only when
it may answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from export.publication.published import find_problem
from export.publication.served import (
    change_rollout,
    change_served,
    check_closed,
    check_published,
    served_model,
    with_labels,
    with_loaded,
)
from models.errors import ConflictError, NotFoundError
from models.rollouts import (
    ABORTED,
    CANARY,
    PROMOTED,
    RUNNING,
    STABLE,
    STARTING,
    Rollout,
)
from models.wire.config import ModelEntry


def begin_rollout(models_dir: Path, name: str, version: int, mirror: float) -> Rollout:
    """Hold *version* back, so that it can be loaded; no request reaches it yet.

    An interrupted start of the same version goes on.

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
        begun = _new_rollout(*served_model(models_dir, name), version, mirror)
        if problem := find_problem(models_dir / name / str(version)):
            message = f"{name} version {version} cannot be served: {problem}"
            raise ConflictError(message)
        return begun

    return change_rollout(models_dir, name, begin)


def load_canary(models_dir: Path, rollout: Rollout, needed: Collection[int]) -> None:
    """Load the canary; of other loaded versions, those in *needed* stay.

    Raises:
        ConflictError: another command ended the rollout.
    """
    change_rollout(models_dir, rollout.model, partial(_still_starting, rollout))
    change = partial(_load_beside_stable, rollout=rollout, needed=needed)
    change_served(models_dir, rollout.model, change)


def run_rollout(models_dir: Path, rollout: Rollout, percent: float) -> Rollout:
    """Label the canary, which is loaded, and give it its share of the requests.

    Raises:
        ConflictError: another command ended the rollout.
    """
    change_rollout(models_dir, rollout.model, partial(_still_starting, rollout))
    change_served(models_dir, rollout.model, partial(_label_both, rollout=rollout))

    def run(before: Rollout | None) -> Rollout:
        return replace(_still_starting(rollout, before), state=RUNNING, percent=percent)

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
        rollout = _running(name, before)
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
        return replace(_running(name, before), percent=100)

    def end(before: Rollout | None) -> Rollout:
        return replace(_running(name, before), state=PROMOTED)

    rollout = change_rollout(models_dir, name, all_of_it)
    change_served(models_dir, name, partial(_promote, rollout=rollout))
    return change_rollout(models_dir, name, end)


def abort_rollout(models_dir: Path, name: str) -> Rollout:
    """Send the canary nothing more, then unload it; the stable version answers on.

    Raises:
        NotFoundError: no rollout goes on.
    """

    def abort(before: Rollout | None) -> Rollout:
        if before is not None and before.state == ABORTED:
            return before  # perhaps interrupted before the canary was unloaded
        return replace(_open(name, before), state=ABORTED, percent=0)

    rollout = change_rollout(models_dir, name, abort)
    change_served(models_dir, name, partial(_unload_canary, rollout=rollout))
    return rollout


def _new_rollout(
    entry: ModelEntry, versions: Sequence[int], canary: int, mirror: float
) -> Rollout:
    """A new rollout of *canary* beside the version that answers; it has no share yet.

    Raises:
        NotFoundError: *canary* is not published.
        ConflictError: *canary* answers already, or is older than the version that does.
    """
    check_published(entry.name, versions, canary)
    answering = next(iter(entry.loaded(versions)), 0)
    _check_newer(entry.name, answering, canary)
    return Rollout(
        model=entry.name,
        id=secrets.token_hex(4),
        stable=answering,
        canary=canary,
        percent=0,
        mirror=mirror,
        state=STARTING,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _check_newer(name: str, answering: int, canary: int) -> None:
    if canary == answering:
        message = (
            f"{name} version {canary} already answers requests that name no version: "
            "kennel export --hold publishes one that waits for its rollout; kennel "
            f"rollback {name} VERSION takes this one back first"
        )
        raise ConflictError(message)
    if canary < answering:
        message = (
            f"{name} version {canary} is older than {answering}, which answers: kennel "
            f"rollback {name} {canary} goes back to it"
        )
        raise ConflictError(message)


def _load_beside_stable(
    entry: ModelEntry,
    versions: Sequence[int],
    rollout: Rollout,
    needed: Collection[int],
) -> ModelEntry:
    """*entry* with the canary loaded beside the stable version.

    Of the others that were loaded, labelled ones and those in *needed* stay. All are
    named: a version that is copied there by hand must not push the stable one out.
    """
    labelled = {version for _, version in entry.labels}
    staying = set(entry.loaded(versions)) & (labelled | set(needed))
    loaded = {rollout.canary, rollout.stable} | staying
    return replace(entry, specific_versions=tuple(sorted(loaded, reverse=True)))


def _label_both(
    entry: ModelEntry, versions: Sequence[int], rollout: Rollout
) -> ModelEntry:
    """*entry* with the labels of canary and stable version, which are both loaded.

    Raises:
        ConflictError: one is not loaded, by a change made meanwhile.
    """
    _check_loaded(entry, versions, rollout)
    labels = {**dict(entry.labels), CANARY: rollout.canary, STABLE: rollout.stable}
    return with_labels(entry, labels)


def _promote(
    entry: ModelEntry, versions: Sequence[int], rollout: Rollout
) -> ModelEntry:
    """*entry* with the canary as the stable version; the one before stays loaded.

    Raises:
        ConflictError: the canary is not loaded, by a change made meanwhile.
    """
    _check_loaded(entry, versions, rollout)
    labels = {k: v for k, v in entry.labels if k != CANARY}
    entry = with_labels(entry, {**labels, STABLE: rollout.canary})
    return with_loaded(entry, set(entry.loaded(versions)), versions)


def _unload_canary(
    entry: ModelEntry, versions: Sequence[int], rollout: Rollout
) -> ModelEntry:
    """*entry* without the canary; its other labels move to the stable version."""
    labels = {
        label: rollout.stable if version == rollout.canary else version
        for label, version in entry.labels
        if label != CANARY
    }
    loaded = {*entry.loaded(versions), rollout.stable} - {rollout.canary}
    return with_loaded(with_labels(entry, labels), loaded, versions)


def _check_loaded(entry: ModelEntry, versions: Sequence[int], rollout: Rollout) -> None:
    missing = {rollout.canary, rollout.stable} - set(entry.loaded(versions))
    if missing:
        message = (
            f"{entry.name} version {missing.pop()} is not served any more, so its "
            f"rollout cannot go on: kennel rollout abort {entry.name}"
        )
        raise ConflictError(message)


def _open(name: str, rollout: Rollout | None) -> Rollout:
    """*rollout* of the model *name*, if it is under way.

    Raises:
        NotFoundError: it is over, or there is none.
    """
    if rollout is None or not rollout.is_open:
        message = (
            f"no rollout of {name} goes on: kennel rollout start {name} VERSION "
            "begins one"
        )
        raise NotFoundError(message)
    return rollout


def _running(name: str, found: Rollout | None) -> Rollout:
    """*found*, the rollout of the model *name*, if its canary is loaded.

    Raises:
        NotFoundError: there is none, or it is over.
        ConflictError: its canary is still being loaded.
    """
    rollout = _open(name, found)
    if rollout.state == STARTING:
        message = (
            f"{name} version {rollout.canary} is still being loaded: wait for kennel "
            f"rollout start, or repeat it; kennel rollout abort {name} gives up"
        )
        raise ConflictError(message)
    return rollout


def _still_starting(rollout: Rollout, found: Rollout | None) -> Rollout:
    """*found*, if it is *rollout* and its canary may be loaded.

    Raises:
        ConflictError: another command ended it.
    """
    if found is None or (found.id, found.state) != (rollout.id, STARTING):
        message = f"another command ended this rollout of {rollout.model}"
        raise ConflictError(message)
    return found
