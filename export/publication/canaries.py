"""Which versions are loaded while one is tried: decisions without files.

As in `policy`, versions are newest first, and no label moves to a version that was not
loaded before.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from export.publication.policy import check_published, loading, with_labels
from models.errors import ConflictError
from models.rollouts import CANARY, STABLE, STARTING, Rollout
from models.wire.config import ModelEntry


def hold(entry: ModelEntry, versions: Sequence[int], new: int) -> ModelEntry:
    """*entry* once version *new* is published but must not be loaded yet."""
    return loading(entry, set(entry.loaded(versions)), [new, *versions])


def propose(
    entry: ModelEntry, versions: Sequence[int], canary: int, mirror: float
) -> Rollout:
    """A new rollout of *canary* beside the version that answers; it has no share yet.

    Raises:
        NotFoundError: *canary* is not published.
        ConflictError: it answers already, or is older than the one that does.
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


def stage(
    entry: ModelEntry,
    versions: Sequence[int],
    rollout: Rollout,
    needed: Collection[int],
) -> ModelEntry:
    """*entry* with the canary loaded beside the stable version.

    Of the others that were loaded, labelled ones and those in *needed* stay. All are
    named: a version that somebody copies there must not push the stable one out.
    """
    labelled = {version for _, version in entry.labels}
    staying = set(entry.loaded(versions)) & (labelled | set(needed))
    loaded = {rollout.canary, rollout.stable} | staying
    return replace(entry, specific_versions=tuple(sorted(loaded, reverse=True)))


def name_both(
    entry: ModelEntry, versions: Sequence[int], rollout: Rollout
) -> ModelEntry:
    """*entry* with its two labels where they belong; both versions are loaded.

    Raises:
        ConflictError: one is not, by a change made meanwhile.
    """
    _check_loaded(entry, versions, rollout)
    labels = {**dict(entry.labels), CANARY: rollout.canary, STABLE: rollout.stable}
    return with_labels(entry, labels)


def promote(entry: ModelEntry, versions: Sequence[int], rollout: Rollout) -> ModelEntry:
    """*entry* with the canary as the stable version; the one before stays loaded.

    Raises:
        ConflictError: the canary is not loaded, by a change made meanwhile.
    """
    _check_loaded(entry, versions, rollout)
    labels = {k: v for k, v in entry.labels if k != CANARY}
    entry = with_labels(entry, {**labels, STABLE: rollout.canary})
    return loading(entry, set(entry.loaded(versions)), versions)


def unstage(entry: ModelEntry, versions: Sequence[int], rollout: Rollout) -> ModelEntry:
    """*entry* without the canary; its other labels move to the stable version."""
    labels = {
        label: rollout.stable if version == rollout.canary else version
        for label, version in entry.labels
        if label != CANARY
    }
    loaded = {*entry.loaded(versions), rollout.stable} - {rollout.canary}
    return loading(with_labels(entry, labels), loaded, versions)


def _check_loaded(entry: ModelEntry, versions: Sequence[int], rollout: Rollout) -> None:
    missing = {rollout.canary, rollout.stable} - set(entry.loaded(versions))
    if missing:
        message = (
            f"{entry.name} version {missing.pop()} is not served any more, so its "
            f"rollout cannot go on: kennel rollout abort {entry.name}"
        )
        raise ConflictError(message)


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
