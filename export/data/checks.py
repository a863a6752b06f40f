"""Checks of labelled photos before training: readable, different, well named.

Duplicates across the split make validation look better than it is; the same photo with
two labels teaches nothing. A check reports findings, or refuses what cannot be trained.
"""

from __future__ import annotations

import hashlib
import heapq
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.data.sources.files import (
    MAX_KEPT,
    Finding,
    SourcePhoto,
    as_findings,
    map_files,
)
from export.progress import Progress
from models.errors import DatasetError, InvalidImageError, MissingImageError, quoted
from models.images.codec import decode_grey
from models.text import is_utf8, normal_name, printable

GREY_SIDE: Final = 24
TINY_SHARE: Final = 1 / 20
"""A class with a smaller share of the largest class's photos is probably a mistake."""

MAX_HASH_DISTANCE: Final = 6
"""Bits of 64; 99 % of real photos differ by less when saved as JPEG of half the size."""

MAX_DIFFERENCE: Final = 0.08
"""Root mean square difference of the grey copies, each scaled to mean 0, deviation 1.

Photos saved again (JPEG quality 50, or half the size) differed by less than 0.05 in 99 %
of cases; of 10,000 similar pieces of clothing (5e7 pairs, 350,000 of them with similar
hashes) half a dozen pairs stay below 0.08, and thousands below 0.2.
"""

MIN_CONTRAST: Final = 4.0
"""Grey levels; below it, noise alone would tell two photos of a wall apart."""

_MAX_LABEL_BYTES: Final = 200
_QUOTED: Final = frozenset(",\"'`; ")
_MOST_NAMED: Final = 5
_REMEDIES: Final = {
    "with two labels": "look at them and keep the right label",
    "across": "remove one, or group them with a CSV and --group-by",
    "in": "remove one of them",
}
_ROWS: Final = 64
_COLUMNS: Final = 4096  # 64 x 4096 hashes are 2 MB: they stay in the processor's cache
_COARSE_SIDE: Final = 6


@dataclass(frozen=True, eq=False)
class ScannedPhoto:
    """A photo that decodes: hash and size in bytes of its file, and a small grey copy."""

    photo: SourcePhoto
    sha256: str
    size: int
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True)
class UnreadablePhoto:
    """A photo that does not decode, and why; its hash if the file could be read."""

    photo: SourcePhoto
    reason: str
    sha256: str
    size: int


def scan_photos(
    photos: Sequence[SourcePhoto],
    read: Callable[[SourcePhoto], bytes],
    progress: Progress,
) -> tuple[list[ScannedPhoto], list[UnreadablePhoto]]:
    """Read and decode all *photos*, in order; the second list holds the failures.

    Only the hash and the grey copy of each photo stay in memory: 600 bytes.

    Raises:
        DatasetError: a photo is gone since it was listed.
        StorageUnavailableError: a disk or mount cannot be read now.
    """
    good: list[ScannedPhoto] = []
    bad: list[UnreadablePhoto] = []
    results = map_files(lambda photo: _scan(photo, read), photos)
    for number, result in enumerate(results, start=1):
        if isinstance(result, ScannedPhoto):
            good.append(result)
        else:
            bad.append(result)
        progress("check photos", number, len(photos))
    return good, bad


def check_utf8(names: Iterable[str]) -> None:
    """Accept *names* of files and folders that a CSV, a card or a report can hold.

    Raises:
        DatasetError: some are not UTF-8; the message names the first.
    """
    wrong = [printable(name) for name in names if not is_utf8(name)]
    if wrong:
        more = f" and {len(wrong) - _MOST_NAMED:,} more" if wrong[_MOST_NAMED:] else ""
        message = (
            f"names that are not UTF-8: {', '.join(wrong[:_MOST_NAMED])}{more}. Rename "
            "these files or folders (convmv does many at once)"
        )
        raise DatasetError(message)


def check_labels(photos: Sequence[SourcePhoto]) -> tuple[Finding, ...]:
    """Findings about the labels of *photos*: tiny classes, quoting, upper and lower case.

    Raises:
        DatasetError: a label cannot be a folder's name, or a path is not UTF-8.
    """
    check_utf8(photo.file.path for photo in photos)
    counts = Counter(photo.label for photo in photos)
    for label in counts:
        _check_label(label)
    largest = max(counts.values())
    tiny = [
        f"{label} ({count} photos)"
        for label, count in sorted(counts.items(), key=lambda item: item[1])
        if count < largest * TINY_SHARE
    ]
    special = [repr(label) for label in sorted(counts) if not _QUOTED.isdisjoint(label)]
    return (
        *as_findings("tiny class", tiny, "see that the folder is a class at all"),
        *as_findings("label that CSV must quote", special, "give it a plainer name"),
        *as_findings(
            "labels alike but for case", _case_variants(counts), "merge or rename them"
        ),
    )


def check_names(photos: Sequence[SourcePhoto]) -> tuple[Finding, ...]:
    """Findings about file names of one class that differ in case only.

    One of them is lost on a disk that ignores case.

    Raises:
        DatasetError: a path is not UTF-8.
    """
    check_utf8(photo.file.path for photo in photos)
    by_label: dict[str, list[str]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label].append(photo.file.path)
    alike = [pair for paths in by_label.values() for pair in _case_variants(paths)]
    return as_findings(
        "file names alike but for case", alike, "rename all but one of them"
    )


def check_varied(contents: Collection[str | bytes]) -> None:
    """Accept photos unless their *contents* are all the same.

    Raises:
        DatasetError: they are.
    """
    if len(contents) > 1 and len(set(contents)) == 1:
        message = (
            f"all {len(contents):,} photos are the same, or look it: check that the "
            "originals are intact"
        )
        raise DatasetError(message)


def check_different(labels: Sequence[str], hashes: Sequence[str]) -> None:
    """Accept classes that hold different photos; *hashes* are the photos' sha256.

    Raises:
        DatasetError: all photos are the same, or two classes hold the same ones.
    """
    check_varied(hashes)
    contents: dict[str, set[str]] = defaultdict(set)
    for label, sha256 in zip(labels, hashes, strict=True):
        contents[label].add(sha256)
    first_of: dict[frozenset[str], str] = {}
    for label in sorted(contents):
        first = first_of.setdefault(frozenset(contents[label]), label)
        if first != label:
            message = (
                f"classes {quoted(first)} and {quoted(label)} hold the same photos: "
                "nothing tells them apart; remove or replace one of them"
            )
            raise DatasetError(message)


def find_duplicates(
    photos: Sequence[ScannedPhoto], parts: Sequence[str]
) -> tuple[Finding, ...]:
    """Findings about exact and near duplicates among *photos*, the worst kind first.

    *parts* has the part of each photo. Of exact duplicates only one is compared with the
    other photos.
    """
    found: dict[tuple[str, str, str], _Pairs] = defaultdict(_Pairs)
    first_of: dict[str, int] = {}
    for index, photo in enumerate(photos):
        first = first_of.setdefault(photo.sha256, index)
        if first != index:
            _add(found, "exact", (first, index), 0, photos, parts)
    single = list(first_of.values())
    if single:
        thumbnails = np.stack([photos[index].thumbnail for index in single])
        for first, second, difference in find_similar_pairs(thumbnails):
            pair = single[first], single[second]
            _add(found, "near", pair, difference, photos, parts)
    return tuple(
        Finding(
            f"{how} duplicates {where} {which}".rstrip(),
            found[how, where, which].count,
            _REMEDIES[where],
            found[how, where, which].texts(),
        )
        for where in _REMEDIES
        for how in ("exact", "near")
        for which in sorted(key[2] for key in found if key[:2] == (how, where))
    )


def duplicate_groups(photos: Sequence[ScannedPhoto]) -> list[str]:
    """The group of each photo: exact duplicates share one, "" for the others."""
    members: dict[str, int] = defaultdict(int)
    for photo in photos:
        members[photo.sha256] += 1
    return [
        f"same-{photo.sha256[:16]}" if members[photo.sha256] > 1 else ""
        for photo in photos
    ]


def find_similar_pairs(
    thumbnails: NDArray[np.uint8],
) -> Iterator[tuple[int, int, float]]:
    """All pairs of grey copies [N, S, S] that look the same: numbers and difference.

    A difference hash (64 bits: is each of 8 x 8 cells brighter than its right neighbour)
    proposes pairs; it survives scaling, re-encoding and other brightness, but drowns in
    similar photos where most cells are background, as in MNIST. So the grey copies of a
    pair are compared too, relative to their contrast. Difference 0: the same up to
    brightness.
    """
    coarse = _coarse(thumbnails)
    for firsts, seconds in _candidates(_difference_hashes(thumbnails)):
        # Means of blocks never differ more than the blocks: no pair is lost here.
        near = _rms(coarse[firsts], coarse[seconds]) <= MAX_DIFFERENCE
        firsts, seconds = firsts[near], seconds[near]
        differences = _differences(thumbnails[firsts], thumbnails[seconds])
        for index in np.flatnonzero(differences <= MAX_DIFFERENCE):
            yield int(firsts[index]), int(seconds[index]), float(differences[index])


def _scan(
    photo: SourcePhoto, read: Callable[[SourcePhoto], bytes]
) -> ScannedPhoto | UnreadablePhoto:
    try:
        image = read(photo)
    except MissingImageError as error:
        message = (
            f"{photo.file.path} is gone since its folder was listed: see that the "
            "folder stays there (is its volume mounted?), then try again"
        )
        raise DatasetError(message) from error
    except InvalidImageError as error:
        return UnreadablePhoto(photo, str(error), "", photo.file.size)
    sha256 = hashlib.sha256(image).hexdigest()
    try:
        thumbnail = decode_grey(image, (GREY_SIDE, GREY_SIDE))
    except InvalidImageError as error:
        return UnreadablePhoto(photo, str(error), sha256, len(image))
    return ScannedPhoto(photo, sha256, len(image), thumbnail)


def _check_label(label: str) -> None:
    if not label.strip():
        raise DatasetError("a label is empty: name the class of every photo")
    odd = any(
        unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in label
    )
    if odd or "/" in label or "\\" in label or label[0] == ".":
        message = (
            f"label {label!a} cannot be a folder's name (slash, control character or a "
            "dot in front): rename it"
        )
        raise DatasetError(message)
    if len(label.encode()) > _MAX_LABEL_BYTES:
        message = f"label {quoted(label)} is longer than {_MAX_LABEL_BYTES} bytes"
        raise DatasetError(message)


def _case_variants(names: Iterable[str]) -> list[str]:
    by_folded: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_folded[normal_name(name).casefold()].append(name)
    return [", ".join(sorted(each)) for each in by_folded.values() if len(each) > 1]


@dataclass
class _Pairs:
    """The number of pairs of one kind, and the most similar of them."""

    count: int = 0
    worst: list[tuple[float, str]] = field(default_factory=list)

    def add(self, difference: float, text: str) -> None:
        self.count += 1
        if len(self.worst) < MAX_KEPT:
            heapq.heappush(self.worst, (-difference, text))
        else:
            heapq.heappushpop(self.worst, (-difference, text))

    def texts(self) -> tuple[str, ...]:
        return tuple(text for _, text in sorted(self.worst, reverse=True))


def _add(
    found: dict[tuple[str, str, str], _Pairs],
    how: str,
    pair: tuple[int, int],
    difference: float,
    photos: Sequence[ScannedPhoto],
    parts: Sequence[str],
) -> None:
    first, second = (photos[index].photo for index in pair)
    part = sorted(parts[index] for index in pair)
    sign = "=" if how == "exact" else "~"
    text = f"{first.file.path} {sign} {second.file.path}"
    where, which = "in", part[0]
    if part[0] != part[1]:
        where, which = "across", " and ".join(part)
    if first.label and second.label and first.label != second.label:
        where, which = "with two labels", ""
        text += f" ({first.label}, {second.label})"
    if how == "near":
        text += f" (difference {difference:.3f})"
    found[how, where, which].add(difference, text)


def _difference_hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    starts = range(0, len(thumbnails), _COLUMNS)
    return np.concatenate(
        [_hash(thumbnails[start : start + _COLUMNS]) for start in starts]
    )


def _hash(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    count, side, _ = thumbnails.shape
    rows = _means(thumbnails.astype(np.float32), np.linspace(0, side, 9), axis=1)
    cells = _means(rows, np.linspace(0, side, 10), axis=2)
    bits = cells[:, :, 1:] > cells[:, :, :-1]
    packed = np.packbits(bits.reshape(count, 64), axis=1)
    return packed.view(np.uint64).ravel()


def _differences(
    first: NDArray[np.uint8], second: NDArray[np.uint8]
) -> NDArray[np.float32]:
    return _rms(_standardised(first), _standardised(second))


def _rms(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> NDArray[np.float32]:
    difference = first - second
    squares = np.einsum("ij,ij->i", difference, difference)
    return np.asarray(np.sqrt(squares / max(1, first.shape[1])))


def _coarse(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    side = thumbnails.shape[1]
    cells = side // _COARSE_SIDE
    parts = [
        _standardised(thumbnails[start : start + _COLUMNS])
        .reshape(-1, _COARSE_SIDE, cells, _COARSE_SIDE, cells)
        .mean(axis=(2, 4))
        .reshape(-1, _COARSE_SIDE**2)
        for start in range(0, len(thumbnails), _COLUMNS)
    ]
    return np.concatenate(parts)


def _standardised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    side = thumbnails.shape[1]
    flat = thumbnails.reshape(len(thumbnails), side * side).astype(np.float32)
    contrast = np.maximum(flat.std(axis=1, keepdims=True), MIN_CONTRAST)
    return np.asarray((flat - flat.mean(axis=1, keepdims=True)) / contrast)


def _candidates(
    hashes: NDArray[np.uint64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    different = np.empty((_ROWS, _COLUMNS), np.uint64)
    counts = np.empty((_ROWS, _COLUMNS), np.uint8)
    near = np.empty((_ROWS, _COLUMNS), np.bool_)
    for top in range(0, len(hashes), _ROWS):
        rows = hashes[top : top + _ROWS]
        for left in range(top - top % _COLUMNS, len(hashes), _COLUMNS):
            columns = hashes[left : left + _COLUMNS]
            here = np.s_[: len(rows), : len(columns)]
            np.bitwise_xor(rows[:, None], columns[None], out=different[here])
            np.bitwise_count(different[here], out=counts[here])
            np.less_equal(counts[here], MAX_HASH_DISTANCE, out=near[here])
            # On flat arrays this is many times as fast as nonzero() on two dimensions.
            found = np.flatnonzero(near[here])
            firsts, seconds = found // len(columns) + top, found % len(columns) + left
            upper = firsts < seconds
            if upper.any():
                yield firsts[upper], seconds[upper]


def _means(
    values: NDArray[np.float32], edges: NDArray[np.float64], axis: int
) -> NDArray[np.float32]:
    # Cells need not be whole pixels: the cumulative sum is interpolated at the edges.
    sums = np.cumsum(values, axis=axis, dtype=np.float32)
    zero = np.zeros_like(np.take(sums, [0], axis=axis))
    sums = np.concatenate([zero, sums], axis=axis)
    lower = np.minimum(edges.astype(np.int64), sums.shape[axis] - 2)
    shape = [1] * values.ndim
    shape[axis] = -1
    share = (edges - lower).astype(np.float32).reshape(shape)
    below, above = np.take(sums, lower, axis=axis), np.take(sums, lower + 1, axis=axis)
    return np.diff(below + (above - below) * share, axis=axis)
