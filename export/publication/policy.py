"""Which versions of a model are to be loaded, and who answers: decisions without files.

A model server answers requests that name no version with the newest one it has loaded,
so "roll back" means: load nothing newer. Versions are newest first everywhere.

TensorFlow Serving looks at labels before it loads anything: a configuration that moves
a label to a version which is not loaded yet is refused whole, and with it the loading.
So no function here moves a label to a version that the entry did not load before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from models.errors import ConflictError, NotFoundError
from models.wire.config import VERSIONS_KEPT, ModelEntry


def announce(entry: ModelEntry, versions: Sequence[int], new: int) -> ModelEntry:
    """*entry* once version *new*, the newest, is published: it answers.

    What answered until now stays loaded, so that jobs pinned to it can finish, and so
    do labelled versions. After a rollback the versions rolled away from stay away.
    """
    after = [new, *versions]
    if entry.specific_versions:
        loaded = {new, *entry.loaded(versions)[:1]}
    else:
        loaded = {new, *entry.loaded(after)}
    return loading(entry, loaded | _labelled(entry, after), after)


def roll_back(entry: ModelEntry, versions: Sequence[int], version: int) -> ModelEntry:
    """*entry* with *version* answering requests that name none.

    Labels of newer versions move to *version* if it was loaded, else they are dropped.
    The newest older version that was loaded stays, for the jobs pinned to it.

    Raises:
        NotFoundError: *version* is not among *versions*.
    """
    check_published(entry.name, versions, version)
    before = entry.loaded(versions)
    moved = {
        label: min(target, version)
        for label, target in entry.labels
        if target <= version or version in before
    }
    entry = with_labels(entry, moved)
    older = [each for each in before if each < version][: VERSIONS_KEPT - 1]
    loaded = {version, *older} | _labelled(entry, versions)
    return loading(entry, loaded, versions)


def relabel(
    entry: ModelEntry, versions: Sequence[int], changes: Mapping[str, int | None]
) -> ModelEntry:
    """*entry* with labels set to versions, or removed (None).

    A version that was loaded for its label alone goes with its last label.

    Raises:
        NotFoundError: a version is not there, or a label to remove is not.
        ConflictError: a version is there but not loaded.
    """
    loaded, old = entry.loaded(versions), dict(entry.labels)
    for label, version in changes.items():
        if version is not None:
            check_published(entry.name, versions, version)
            _check_loaded(entry.name, loaded, version)
        elif label not in old:
            raise NotFoundError(f"{entry.name} has no label {label!r}: {_named(old)}")
    merged = {**old, **changes}
    labels = {name: number for name, number in merged.items() if number is not None}
    freed = set(old.values()) - set(labels.values())
    entry = with_labels(entry, labels)
    if not entry.specific_versions:
        return entry
    kept = {n for i, n in enumerate(loaded) if i < VERSIONS_KEPT or n not in freed}
    return loading(entry, kept, versions)


def loading(entry: ModelEntry, loaded: set[int], versions: Sequence[int]) -> ModelEntry:
    """*entry* that loads those in *loaded* and no others."""
    # "The newest" where it says the same: then versions copied there by hand count too.
    newest = set(versions[: entry.versions_kept])
    specific = () if loaded == newest else tuple(sorted(loaded, reverse=True))
    return replace(entry, specific_versions=specific)


def _labelled(entry: ModelEntry, versions: Sequence[int]) -> set[int]:
    return {version for _, version in entry.labels} & set(versions)


def with_labels(entry: ModelEntry, labels: Mapping[str, int]) -> ModelEntry:
    """*entry* with these labels and no others."""
    return replace(entry, labels=tuple(sorted(labels.items())))


def check_published(name: str, versions: Iterable[int], version: int) -> None:
    """See that *version* is among the published *versions*.

    Raises:
        NotFoundError: it is not; the message lists them.
    """
    if version not in versions:
        there = ", ".join(map(str, versions))
        raise NotFoundError(f"{name} has no version {version}: there are {there}")


def _check_loaded(name: str, loaded: Iterable[int], version: int) -> None:
    if version not in loaded:
        served = ", ".join(map(str, loaded))
        message = (
            f"{name} version {version} is not served (served: {served}): a label can "
            f"only name a served version; kennel rollback {name} {version} serves it"
        )
        raise ConflictError(message)


def _named(labels: Mapping[str, int]) -> str:
    return ", ".join(f"{label}={version}" for label, version in labels.items()) or (
        "it has none"
    )
