"""Splits: which photos train and which validate, once or in folds; seeded and stratified.

A folder that `kennel prepare` made keeps its split. A new one depends on nothing but the
seed and the files, and photos of one group are never on both sides. In cross-validation
every photo validates one model, which has not seen it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.data.checks import check_different, check_labels, check_utf8
from export.data.layouts.collect import SourceOptions, collect_photos
from export.data.manifest import (
    MANIFEST_FILE,
    PREPARE_PLAN_FILE,
    check_prepared_files,
    read_manifest,
)
from export.data.sources.archives import Archives
from export.data.sources.files import (
    GIVEN_GROUPING,
    CollectedPhotos,
    SourcePhoto,
    map_files,
    walk_folder,
)
from models.errors import DatasetError
from models.files import hash_file, parse_json, write_atomically
from models.text import normal_name

SPLIT_SCHEMA: Final = 1
CROSS_VALIDATED: Final = "cross-validated"
"""How `Split.counts` names the photos of cross-validation."""

_TRIALS: Final = 20_000
"""Limit of groups tried for a better fit: 26 drivers are tried in 769 orders."""


@dataclass(frozen=True)
class Photo:
    """One labelled file; its path is relative to the data folder.

    Photos of one ``group`` (a driver, exact duplicates) stay in one part; "": no group.
    """

    file: str
    label: str
    sha256: str
    group: str = ""


@dataclass(frozen=True)
class Split:
    """The photos for training and for validation; labels are in normal form.

    For cross-validation ``train`` and ``valid`` are the same photos: each fold validates
    a model that was trained on the others.

    Raises:
        DatasetError: the folder or a file has a name that is not UTF-8.
    """

    folder: str
    labels: tuple[str, ...]
    seed: int
    grouping: str
    train: tuple[Photo, ...]
    valid: tuple[Photo, ...]

    def __post_init__(self) -> None:
        """Refuse names that neither the report nor the exported version can hold."""
        check_utf8([self.folder])
        check_utf8(photo.file for photo in (*self.train, *self.valid))

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of photos per part and label, each photo once."""
        parts = {"train": self.train, "valid": self.valid}
        if self.train == self.valid:
            parts = {CROSS_VALIDATED: self.train}
        return {
            part: dict(Counter(photo.label for photo in photos))
            for part, photos in parts.items()
        }

    def digest(self) -> str:
        """Sha256 over names and contents of the files of both parts."""
        lines = [
            f"{part} {photo.sha256} {photo.file}\n"
            for part, photos in (("train", self.train), ("valid", self.valid))
            for photo in photos
        ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the split as JSON; `read_split` reads it."""
        content = {"schema": SPLIT_SCHEMA, **asdict(self)}
        write_atomically(path, json.dumps(content, indent=1))


def in_turns(photos: Iterable[Photo], labels: Sequence[str]) -> Iterator[Photo]:
    """The first of *photos* with each of *labels*, then the second with each, and so on."""
    by_label: dict[str, list[Photo]] = {label: [] for label in labels}
    for photo in photos:
        by_label[photo.label].append(photo)
    turns = chain.from_iterable(zip_longest(*by_label.values()))
    return (photo for photo in turns if photo is not None)


def read_split(path: Path) -> Split:
    """The split in the file *path*.

    Raises:
        DatasetError: there is no such file, or it cannot be read.
    """
    try:
        content: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        content.pop("schema")
        for part in ("train", "valid"):
            content[part] = tuple(
                Photo(**{**photo, "label": normal_name(photo["label"])})
                for photo in content[part]
            )
        content["labels"] = tuple(map(normal_name, content["labels"]))
        return Split(**content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is not a split manifest ({error}): train again"
        raise DatasetError(message) from error


def find_split(
    folder: Path,
    valid_fraction: float,
    seed: int,
    report: Callable[[CollectedPhotos], None] = lambda found: None,
) -> Split:
    """The split of *folder* if it has one, else a new split of its labelled photos.

    A folder made by `kennel prepare` has one, and so has a folder with training and
    validation folders; *valid_fraction* is not used then. If the folder is not prepared,
    *report* is called first with its photos.

    Raises:
        NotFoundError: there is no such folder.
        DatasetError: no photos, files are missing, a class is too small to split, or two
            classes hold the same photos.
    """
    if _is_prepared(folder):
        return _prepared_split(folder)
    found = _collect_folder(folder)
    report(found)
    photos, valid = _hash_photos(found.labelled), _hash_photos(found.valid)
    check_different([each.label for each in photos], [each.sha256 for each in photos])
    if valid:
        return _split(folder, seed, GIVEN_GROUPING, photos, valid)
    return split_photos(folder, photos, valid_fraction, seed)


def has_split(split: Split) -> bool:
    """Whether *split* existed before training: prepared, or as folders of the source."""
    return split.grouping == GIVEN_GROUPING or _is_prepared(Path(split.folder))


def split_photos(
    folder: Path, photos: Sequence[Photo], valid_fraction: float, seed: int
) -> Split:
    """A new split of *photos*: a seeded, stratified share validates.

    Exact duplicates stay together.

    Raises:
        DatasetError: a class is too small to have photos in both parts.
    """
    photos = sorted(photos, key=lambda photo: (photo.label, photo.file))
    strata = [photo.label for photo in photos]
    targets = _share_of(strata, valid_fraction)
    _check_targets(Counter(strata), targets, valid_fraction)
    generator = np.random.default_rng(seed)
    copies = Counter(photo.sha256 for photo in photos)
    grouped = len(copies) < len(photos)
    if grouped:
        photos = [
            replace(photo, group=photo.sha256 if copies[photo.sha256] > 1 else "")
            for photo in photos
        ]
        names = [photo.group or photo.file for photo in photos]
        chosen = set(choose_groups(strata, names, targets, generator))
        valid = [photos[index] for index in sorted(chosen)]
        train = [photo for index, photo in enumerate(photos) if index not in chosen]
    else:
        order = _shuffle_strata(strata, generator)
        valid = [photos[i] for name in order for i in order[name][: targets[name]]]
        train = [photos[i] for name in order for i in order[name][targets[name] :]]
    grouping = "stratified, groups kept together" if grouped else "stratified"
    return _split(folder, seed, grouping, train, valid)


def join_parts(split: Split, folds: int) -> Split:
    """*split* with all photos on both sides, for cross-validation.

    Raises:
        DatasetError: the split is the user's own folders, which folds would mix; or a
            class has fewer photos or groups than there are folds.
    """
    if "stratified" not in split.grouping:
        message = (
            f"the split is {split.grouping!r}, and folds would mix them: use --folds 0, "
            "or kennel prepare for a split that folds can keep to"
        )
        raise DatasetError(message)
    photos = (*split.train, *split.valid)
    groups = content_groups(photos)
    for label in split.labels:
        found = zip(groups, photos, strict=True)
        count = len({group for group, photo in found if photo.label == label})
        if count < folds:
            message = (
                f"class {label!r} has {count} photos or groups that differ, too few for "
                f"{folds} folds: use --folds {count if count > 1 else 0}"
            )
            raise DatasetError(message)
    grouping = f"{split.grouping.removeprefix('not ')}, {folds} folds"
    return replace(split, grouping=grouping, train=photos, valid=photos)


def content_groups(photos: Sequence[Photo]) -> list[str]:
    """A name for each photo, the same for photos of one group or of the same content."""
    return join_groups(
        [photo.group for photo in photos], [photo.sha256 for photo in photos]
    )


def held_out_rows(
    photos: Sequence[Photo], folds: int, seed: int
) -> list[NDArray[np.int64]]:
    """Row numbers of each fold: stratified, seeded; `content_groups` stay in one fold.

    Large groups come first; each goes to the fold that has fewest photos of its labels.
    """
    members: dict[str, list[int]] = {}
    for row, group in enumerate(content_groups(photos)):
        members.setdefault(group, []).append(row)
    keys = sorted((photos[rows[0]].label, group) for group, rows in members.items())
    places = np.random.default_rng(seed).permutation(len(keys)).argsort()
    order = sorted(
        range(len(keys)),
        key=lambda each: (-len(members[keys[each][1]]), keys[each][0], places[each]),
    )
    filled = [Counter[str]() for _ in range(folds)]
    rows_of: list[list[int]] = [[] for _ in range(folds)]
    for each in order:
        rows = members[keys[each][1]]
        labels = Counter(photos[row].label for row in rows)
        fold = min(
            range(folds),
            key=lambda number: (
                sum(filled[number][label] * labels[label] for label in labels),
                filled[number].total(),
                number,
            ),
        )
        filled[fold] += labels
        rows_of[fold] += rows
    return [np.array(sorted(rows), np.int64) for rows in rows_of]


def list_photos(folder: Path) -> list[Photo]:
    """The labelled photos of *folder*, ordered by label and path.

    Raises:
        NotFoundError: there is no such folder.
        DatasetError: nothing labels its photos, there are not two classes, or it has
            several parts.
    """
    found = _collect_folder(folder)
    labelled_test = [photo for photo in found.test if photo.label]
    if found.valid or labelled_test:
        message = (
            f"{folder} has several parts ({', '.join(sorted(found.parts))}): give the "
            "folder of one of them"
        )
        raise DatasetError(message)
    return _hash_photos(found.labelled)


def _collect_folder(folder: Path) -> CollectedPhotos:
    """The photos that `kennel prepare` would find in *folder*, archives left closed."""
    with Archives(folder) as archives:
        found = collect_photos(walk_folder(folder), SourceOptions(), archives)
    if any(photo.file.origin.members for photo in found.labelled):
        message = f"{folder} holds IDX files: make photos of them with kennel prepare"
        raise DatasetError(message)
    check_labels((*found.labelled, *found.valid))
    return found


def _hash_photos(photos: Sequence[SourcePhoto]) -> list[Photo]:
    """*photos* with their hashes, ordered by label and path."""
    photos = sorted(photos, key=lambda photo: (photo.label, photo.file.path))
    hashes = map_files(hash_file, [photo.file.origin.location for photo in photos])
    return [
        Photo(photo.file.path, photo.label, sha256)
        for photo, sha256 in zip(photos, hashes, strict=True)
    ]


def classes_of(photos: Iterable[Photo], labels: Sequence[str]) -> Any:
    """The class number of each photo, int64 [N]."""
    numbers = {label: number for number, label in enumerate(labels)}
    return np.array([numbers[photo.label] for photo in photos], dtype=np.int64)


def allot(strata: Sequence[str], count: int) -> dict[str, int]:
    """*count* items shared among strata by size (largest remainders), at least one each.

    Less if there are not so many items; some strata get none if *count* is too small.
    """
    sizes = _sizes(strata)
    total = sum(sizes.values())
    count = min(count, total)
    exact = {name: count * size / total for name, size in sizes.items()}
    floor = 1 if count >= len(sizes) else 0
    chosen = {name: max(floor, int(value)) for name, value in exact.items()}
    by_need = sorted(sizes, key=lambda name: (chosen[name] - exact[name], name))
    while sum(chosen.values()) < count:
        for name in by_need[: count - sum(chosen.values())]:
            chosen[name] += chosen[name] < sizes[name]
    while sum(chosen.values()) > count:
        chosen[max(chosen, key=lambda name: (chosen[name] - exact[name], name))] -= 1
    return chosen


def choose_items(
    strata: Sequence[str], targets: Mapping[str, int], generator: np.random.Generator
) -> list[int]:
    """The numbers of randomly chosen items, as many of each stratum as its target."""
    shuffled = _shuffle_strata(strata, generator)
    return [
        index for name in shuffled for index in shuffled[name][: targets.get(name, 0)]
    ]


def choose_groups(
    strata: Sequence[str],
    groups: Sequence[str],
    targets: Mapping[str, int],
    generator: np.random.Generator,
) -> list[int]:
    """The numbers of the items of random groups that add up to about *targets*.

    Groups are tried in random order; one is taken if it brings the counts nearer to the
    targets (least squares). Few groups are tried in many orders, and the best result is
    used. At least one group is taken, however large.
    """
    names = sorted(set(strata))
    ordered = sorted(set(groups))
    numbers = {name: number for number, name in enumerate(ordered)}
    counts = np.zeros((len(ordered), len(names)))
    columns = {name: number for number, name in enumerate(names)}
    for stratum, group in zip(strata, groups, strict=True):
        counts[numbers[group], columns[stratum]] += 1
    goal = np.array([targets.get(name, 0) for name in names], dtype=float)
    best: set[int] = set()
    best_distance = np.inf
    for _ in range(max(1, _TRIALS // len(ordered))):
        taken, distance = _try_order(counts, goal, generator.permutation(len(ordered)))
        if distance < best_distance:
            best, best_distance = taken, distance
    best = best or {int(np.square(counts - goal).sum(axis=1).argmin())}
    return [index for index, group in enumerate(groups) if numbers[group] in best]


def join_groups(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """One group per item: items that share a group in *first* or *second* share it.

    "" is no group. Joined groups get the name that sorts first.
    """
    parents: dict[tuple[int, str], tuple[int, str]] = {}

    def root(node: tuple[int, str]) -> tuple[int, str]:
        while parents.setdefault(node, node) != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for left, right in zip(first, second, strict=True):
        if left and right:
            low, high = sorted((root((0, left)), root((1, right))))
            parents[high] = low
    return [
        root((0, left))[1] if left else root((1, right))[1] if right else ""
        for left, right in zip(first, second, strict=True)
    ]


def _shuffle_strata(
    strata: Sequence[str], generator: np.random.Generator
) -> dict[str, list[int]]:
    """The numbers of each stratum's items in random order, by the strata's names."""
    members: dict[str, list[int]] = {name: [] for name in sorted(set(strata))}
    for index, name in enumerate(strata):
        members[name].append(index)
    return {
        name: [indexes[place] for place in generator.permutation(len(indexes))]
        for name, indexes in members.items()
    }


def _share_of(strata: Sequence[str], share: float) -> dict[str, int]:
    """Items to choose in each stratum for a *share* (0..1) of every one."""
    return {name: round(count * share) for name, count in _sizes(strata).items()}


def _is_prepared(folder: Path) -> bool:
    return (folder / MANIFEST_FILE).exists() or (folder / PREPARE_PLAN_FILE).exists()


def _split(
    folder: Path, seed: int, grouping: str, train: list[Photo], valid: list[Photo]
) -> Split:
    labels = tuple(sorted({photo.label for photo in train}))
    if not train or {photo.label for photo in valid} != set(labels):
        only = {photo.label for photo in train} ^ {photo.label for photo in valid}
        message = (
            f"classes {', '.join(sorted(only)) or '(none)'} of {folder} have photos in "
            "one part of the split only: add photos or groups, or split with another seed"
        )
        raise DatasetError(message)
    return Split(str(folder), labels, seed, grouping, tuple(train), tuple(valid))


def _prepared_split(folder: Path) -> Split:
    manifest = read_manifest(folder)
    parts = [manifest.part("train"), manifest.part("valid")]
    check_prepared_files(folder, [file for part in parts for file in part])
    train, valid = (
        [Photo(file.file, file.label, file.sha256, file.group) for file in part]
        for part in parts
    )
    return _split(folder, manifest.seed, manifest.grouping, train, valid)


def _check_targets(
    sizes: Mapping[str, int], targets: Mapping[str, int], share: float
) -> None:
    for label, size in sizes.items():
        if not 0 < targets[label] < size:
            message = (
                f"class {label!r} has {size} photos: too few to keep "
                f"a share of {share:g} for validation"
            )
            raise DatasetError(message)


def _try_order(
    counts: NDArray[np.float64],
    goal: NDArray[np.float64],
    order: NDArray[np.int64],
) -> tuple[set[int], float]:
    missing = goal.copy()
    taken: set[int] = set()
    for number in order:
        group = counts[number]
        if group @ group < 2 * (missing @ group):
            missing -= group
            taken.add(int(number))
    return taken, float(missing @ missing)


def _sizes(strata: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(strata).items()))
