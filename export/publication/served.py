"""models.config and rollouts.json in MODELS_DIR: what is served, and the only writer of both.

The first model in models.config is the default model: it answers requests that name no
model. A new model comes last, and no change of one model moves another. The API takes
DEFAULT_MODEL, else the first of MODEL_NAMES, before it: commands read the same variables.

Every change reads, decides and replaces a file under a lock, in one rename: a model
server never reads half a configuration, and two commands do not undo each other's work.

A model server answers requests that name no version with the newest one it has loaded,
so "roll back" means: load nothing newer. Versions are newest first everywhere.

TensorFlow Serving looks at labels before it loads anything: a configuration that moves
a label to a version which is not loaded yet is refused whole, and with it the loading.
So no function here moves a label to a version that the entry did not load before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Final, TypeAlias, TypeVar

from models.contract import CARD_FILE, ModelCard
from models.errors import ConflictError, ModelContractError, NotFoundError
from models.files import locked_file, write_atomically
from models.rollouts import (
    PROMOTED,
    ROLLOUTS_FILE,
    SUPERSEDED,
    Rollout,
    read_rollouts,
    render_rollouts,
)
from models.wire.config import (
    VERSIONS_KEPT,
    ModelEntry,
    check_model_name,
    default_entry,
    published_models,
    published_versions,
    read_model_config,
    read_model_names,
    render_entries,
)

CONFIG_FILE: Final = "models.config"
CONTAINER_MODELS_DIR: Final = PurePath("/models")
"""Where the public tensorflow/serving image expects models."""

SETTLE_SECONDS: Final = 30.0
"""How long a model server may take to read a new configuration and to load from it."""

Change: TypeAlias = Callable[[ModelEntry, Sequence[int]], ModelEntry]
"""A decision: an entry and its model's versions, newest first -> the new entry."""

_DEFAULT_VARIABLES: Final = ("DEFAULT_MODEL", "MODEL_NAMES")
_After = TypeVar("_After", Rollout, Rollout | None)


def read_served(
    models_dir: Path, remembered: Sequence[ModelEntry] = ()
) -> dict[str, ModelEntry]:
    """The entries of the served models by name, with paths as the model servers see them.

    The order is that of the file. A published model that the file does not name is
    served as well, after the others; of several such models the oldest comes first. If
    there is no file, those *remembered* entries are used that are published.

    Raises:
        InvalidRequestError: the file is not a model server configuration.
    """
    path = models_dir / CONFIG_FILE
    known = read_model_config(path) if path.exists() else []
    if not path.exists():
        known = [each for each in remembered if _is_published(models_dir, each)]
    published = published_models(models_dir)
    found = {each.name: each for each in known if _is_kept(each, published)}
    unnamed = [name for name in published if name not in found]
    if len(unnamed) > 1:
        unnamed.sort(key=lambda name: _first_export(models_dir / name))
    for name in unnamed:
        found[name] = default_entry(name, CONTAINER_MODELS_DIR)
    return found


def local_entries(
    models_dir: Path, remembered: Sequence[ModelEntry] = ()
) -> list[ModelEntry]:
    """The entries of `read_served` with local paths, for a server on this machine.

    *remembered* entries have local paths too.

    Raises:
        InvalidRequestError: the file is not a model server configuration.
    """
    served = read_served(models_dir, _in_container(models_dir, remembered))
    return [
        replace(each, base_path=models_dir / each.name) if _is_ours(each) else each
        for each in served.values()
    ]


def restore_served(models_dir: Path, remembered: Sequence[ModelEntry]) -> bool:
    """Write models.config anew if it is missing; returns whether it was.

    *remembered* are the `local_entries` of the time before. Without a published model
    there is nothing to write.

    Raises:
        OSError: the disk is full or read-only.
    """
    if (models_dir / CONFIG_FILE).exists() or not published_models(models_dir):
        return False
    with locked(models_dir):
        if (models_dir / CONFIG_FILE).exists():
            return False
        before = _in_container(models_dir, remembered)
        write_served(models_dir, read_served(models_dir, before))
    return True


def served_model(models_dir: Path, name: str) -> tuple[ModelEntry, list[int]]:
    """The entry of the model *name* and its published versions, newest first.

    Raises:
        InvalidRequestError: the name is not possible, or the file is broken.
        NotFoundError: no version of the model is published.
    """
    served = read_served(models_dir)
    versions = published_versions(models_dir / check_model_name(name))
    if name not in served or not versions:
        raise _no_such_model(models_dir, name, published_models(models_dir))
    return served[name], versions


def change_served(models_dir: Path, name: str, change: Change) -> ModelEntry:
    """Replace the entry of the model *name* by what *change* makes of it.

    Raises:
        InvalidRequestError, NotFoundError: as `served_model`; nothing is changed.
        OSError: the disk is full or read-only; nothing is changed.
    """
    with locked(models_dir):
        entry, versions = served_model(models_dir, name)
        changed = change(entry, versions)
        write_served(models_dir, {**read_served(models_dir), name: changed})
    return changed


def write_served(models_dir: Path, entries: dict[str, ModelEntry]) -> None:
    """Replace models.config if *entries* differ from it; the caller holds the lock.

    Raises:
        OSError: the disk is full or read-only; the file is as it was.
    """
    path = models_dir / CONFIG_FILE
    text = render_entries(entries.values())
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text)


def make_default(models_dir: Path, name: str) -> list[str]:
    """Let the model *name* answer requests that name no model; returns all names, in order.

    Raises:
        InvalidRequestError: the file is broken; nothing is changed.
        NotFoundError: *name* is not served; the message lists those that are.
        OSError: the disk is full or read-only; nothing is changed.
    """
    with locked(models_dir):
        served = read_served(models_dir)
        if name not in served:
            raise _no_such_model(models_dir, name, served)
        write_served(models_dir, {name: served[name], **served})
    return [name, *(each for each in served if each != name)]


@dataclass(frozen=True)
class DefaultModel:
    """The default model, and the other published ones.

    Attributes:
        name: of the default model; None: no model is published.
        decided_by: the variable that names it, or models.config.
        served: all published models, in the order of models.config.
    """

    name: str | None
    decided_by: str
    served: tuple[str, ...]

    @property
    def others(self) -> list[str]:
        """The published models that are not the default model."""
        return [each for each in self.served if each != self.name]

    @property
    def is_missing(self) -> bool:
        """Whether a variable names a model that is not published."""
        return self.name is not None and self.name not in self.served

    def sentence(self, exported: str | None = None) -> str:
        """A sentence: the default model, and what changes it.

        *exported* is the model that was exported just now.
        """
        if self.name is None:
            return "no model is published yet: kennel train, then kennel export"
        variable = f"{self.decided_by}={self.name}"
        if self.is_missing:
            there = ", ".join(self.served) or "none"
            return (
                f"{variable} names no published model (there are: {there}): requests "
                f"that name no model are refused until {self.decided_by} is changed"
            )
        is_other = exported not in {None, self.name}
        still = "still " if is_other else ""
        answers = f"{self.name} {still}answers requests that name no model"
        if self.decided_by in _DEFAULT_VARIABLES:
            return f"{answers}, because {self.decided_by} says so"
        if self.others:
            other = exported if is_other else "NAME"
            return f"{answers}; kennel default {other} changes that"
        return answers


def find_default(env: Mapping[str, str], models_dir: Path) -> DefaultModel:
    """The default model of an API with the variables *env* that serves *models_dir*.

    Raises:
        InvalidRequestError: a variable holds an impossible name, or models.config is
            broken.
    """
    served = tuple(read_served(models_dir))
    for variable in _DEFAULT_VARIABLES:
        if names := read_model_names(env, variable):
            return DefaultModel(names[0], variable, served)
    return DefaultModel(next(iter(served), None), CONFIG_FILE, served)


def locked(
    folder: Path, *, busy: ConflictError | None = None
) -> AbstractContextManager[None]:
    """Lock *folder* against other changes. Without *busy*, wait for the lock.

    Raises:
        ConflictError: *busy*; another process holds it.
    """
    return locked_file(folder / ".lock", busy=busy)


def check_settled(models_dir: Path, entry: ModelEntry) -> None:
    """Accept *entry* if servers have had the time to load the versions that it names.

    Raises:
        ConflictError: the file changed too recently; the message says how long to wait.
    """
    path = models_dir / CONFIG_FILE
    if not entry.specific_versions or not path.exists():
        return
    age_seconds = time.time() - path.stat().st_mtime
    if 0 <= age_seconds < SETTLE_SECONDS:
        message = (
            f"{path} changed {age_seconds:.0f} s ago and model servers may still be "
            f"loading: try again in {SETTLE_SECONDS - age_seconds:.0f} s (TensorFlow "
            "Serving refuses a label of a version that it has not loaded)"
        )
        raise ConflictError(message)


def _no_such_model(models_dir: Path, name: str, known: Iterable[str]) -> NotFoundError:
    there = ", ".join(known) or "none: kennel export"
    return NotFoundError(f"no model {name!r} in {models_dir}: there are {there}")


def _is_ours(entry: ModelEntry) -> bool:
    return entry.base_path == Path(CONTAINER_MODELS_DIR / entry.name)


def _is_kept(entry: ModelEntry, published: Sequence[str]) -> bool:
    # TensorFlow Serving waits for ever for a model that has no version.
    return entry.name in published or not _is_ours(entry)


def _is_published(models_dir: Path, entry: ModelEntry) -> bool:
    # A version or label that is gone would keep the server from loading the model.
    named = {*entry.specific_versions, *(version for _, version in entry.labels)}
    return named <= set(published_versions(models_dir / entry.name))


def _in_container(models_dir: Path, entries: Iterable[ModelEntry]) -> list[ModelEntry]:
    return [
        replace(each, base_path=Path(CONTAINER_MODELS_DIR / each.name))
        for each in entries
        if each.base_path == models_dir / each.name
    ]


def _first_export(base: Path) -> tuple[bool, str, str]:
    oldest = base / str(min(published_versions(base), default=0))
    try:
        created = ModelCard.from_json((oldest / CARD_FILE).read_bytes()).created
    except (OSError, ModelContractError):
        created = ""
    return not created, created, base.name


def announce(entry: ModelEntry, versions: Sequence[int], new: int) -> ModelEntry:
    """*entry* once version *new*, the newest, is published: it answers.

    What answered until now stays loaded, so that jobs pinned to it can finish, and so
    do labelled versions. Versions that were rolled back stay unloaded.
    """
    after = [new, *versions]
    if entry.specific_versions:
        loaded = {new, *entry.loaded(versions)[:1]}
    else:
        loaded = {new, *entry.loaded(after)}
    return with_loaded(entry, loaded | _labelled(entry, after), after)


def hold(entry: ModelEntry, versions: Sequence[int], new: int) -> ModelEntry:
    """*entry* once version *new* is published but must not be loaded yet."""
    return with_loaded(entry, set(entry.loaded(versions)), [new, *versions])


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
    return with_loaded(entry, loaded, versions)


def relabel(
    entry: ModelEntry, versions: Sequence[int], changes: Mapping[str, int | None]
) -> ModelEntry:
    """*entry* with labels set to versions, or removed (None).

    A version that was loaded for its label alone is unloaded with its last label.

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
    return with_loaded(entry, kept, versions)


def with_loaded(
    entry: ModelEntry, loaded: set[int], versions: Sequence[int]
) -> ModelEntry:
    """*entry* that loads the versions in *loaded* and no others."""
    # "The newest" where it says the same: then versions copied there by hand count too.
    newest = set(versions[: entry.versions_kept])
    specific = () if loaded == newest else tuple(sorted(loaded, reverse=True))
    return replace(entry, specific_versions=specific)


def with_labels(entry: ModelEntry, labels: Mapping[str, int]) -> ModelEntry:
    """*entry* with these labels and no others."""
    return replace(entry, labels=tuple(sorted(labels.items())))


def check_published(name: str, versions: Iterable[int], version: int) -> None:
    """Accept *version* if it is among the published *versions*.

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


def _labelled(entry: ModelEntry, versions: Sequence[int]) -> set[int]:
    return {version for _, version in entry.labels} & set(versions)


def _named(labels: Mapping[str, int]) -> str:
    return ", ".join(f"{label}={version}" for label, version in labels.items()) or (
        "it has none"
    )


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
    """Forget the last rollout: version *answering* is about to answer.

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


def check_closed(rollout: Rollout | None) -> None:
    """Accept *rollout*, the last one of a model, if it is over.

    Raises:
        ConflictError: it is still under way.
    """
    if rollout is not None and rollout.is_open:
        message = (
            f"a rollout of {rollout.model} version {rollout.canary} goes on: kennel "
            f"rollout promote {rollout.model}, or kennel rollout abort {rollout.model}"
        )
        raise ConflictError(message)


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
