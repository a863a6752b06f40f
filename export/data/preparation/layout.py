"""Where every photo will lie below the destination, and where it is taken from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from export.data.checks.scanning import ScannedPhoto, UnreadablePhoto
from export.data.manifest import FLAT_PARTS, PreparedFile
from export.data.preparation.parts import choose_sample
from export.data.preparation.request import PrepareRequest
from export.data.sources.files import Origin

MAX_NAME_BYTES: Final = 180  # a temporary name is longer, and 255 is the limit

Placement = tuple[PreparedFile, Origin]


def lay_out(
    photos: Sequence[ScannedPhoto | UnreadablePhoto],
    parts: Sequence[str],
    request: PrepareRequest,
) -> list[Placement]:
    """Files of the parts, then of the samples, which are taken from the parts.

    Photos to predict lie flat, all others in class folders; equal names of one class are
    told apart by the folders that they came from.
    """
    taken: set[tuple[str, str]] = set()
    placed = []
    for photo, part in zip(photos, parts, strict=True):
        folder = part if part in FLAT_PARTS else f"{part}/{photo.photo.label}"
        name = _free_name(photo, folder, taken)
        prepared = PreparedFile(
            file=f"{folder}/{name}",
            part=part,
            label=photo.photo.label,
            group=photo.photo.group,
            source=photo.photo.file.path,
            sha256=photo.sha256,
            size=photo.size,
        )
        placed.append((prepared, photo.photo.file.origin))
    return placed + _samples([file for file, _ in placed], request)


def _samples(files: Sequence[PreparedFile], request: PrepareRequest) -> list[Placement]:
    wanted = {"train": request.sample_train, "valid": request.sample_valid}
    samples = []
    for salt, (part, count) in enumerate(wanted.items(), start=1):
        members = [file for file in files if file.part == part]
        labels = [file.label for file in members]
        for index in choose_sample(labels, count, request, salt) if count else []:
            original = members[index]
            copy = replace(
                original, file=f"sample/{original.file}", part=f"sample/{part}"
            )
            samples.append((copy, Origin(Path(request.dest, original.file))))
    return samples


def _free_name(
    photo: ScannedPhoto | UnreadablePhoto, folder: str, taken: set[tuple[str, str]]
) -> str:
    path = PurePosixPath(photo.photo.file.path)
    candidates = [path.name, str(path).replace("/", "-")]
    candidates += [f"{photo.sha256[:16]}-{len(taken)}{path.suffix}"]
    fitting = (name for name in candidates if len(os.fsencode(name)) <= MAX_NAME_BYTES)
    # An id of the truth may be a name without its suffix: cat/1.jpg and dog/1.png are two.
    scored = folder in FLAT_PARTS and photo.photo.label
    keys = ((PurePosixPath(name).stem if scored else name, name) for name in fitting)
    key, name = next(each for each in keys if (folder, each[0]) not in taken)
    taken.add((folder, key))
    return name
