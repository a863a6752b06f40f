"""All files of a source: those in its folders and those in its archives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from export.data.checks.findings import find
from export.data.sources.archives import Archives, stem_of
from export.data.sources.files import (
    ARCHIVE,
    Listing,
    Origin,
    SourceFile,
    join_path,
    sort_files,
    walk_folder,
)

MAX_DEPTH: Final = 3
"""Archives in archives: Kaggle nests one in another, a bomb many."""


def list_source(source: Path, archives: Archives) -> Listing:
    """What *source*, a folder or an archive, holds; archives inside it are opened.

    Where a file lies both in a folder and in an archive of that name, the folder counts:
    someone has unpacked the archive and left it there. Nor is an archive taken of which
    every file lies unpacked beside it.

    Raises:
        NotFoundError: there is no such folder or file.
        DatasetError: an archive is damaged, or cannot be read without `--encoding`.
        StorageUnavailableError: a disk or mount cannot be read now.
    """
    if source.is_file():
        listings = [archives.list_members(Origin(source), "")]
    else:
        listings = [walk_folder(source)]
    opened: set[str] = set()
    level = list(listings)
    for _ in range(MAX_DEPTH):
        found = [file for each in level for file in each.files if file.kind == ARCHIVE]
        sizes = {file.path: file.size for each in listings for file in each.files}
        inside = [(x, archives.list_members(x.origin, x.path)) for x in found]
        level = [
            replace(each, files=(), folders=())
            if _is_unpacked(x, each, sizes)
            else each
            for x, each in inside
        ]
        opened |= {file.path for file in found}
        listings += level
    return _merge(listings, opened)


def _is_unpacked(
    archive: SourceFile, inside: Listing, sizes: Mapping[str, int]
) -> bool:
    start = len(stem_of(archive.path)) + 1
    return all(
        sizes.get(join_path(archive.folder, file.path[start:])) == file.size
        for file in inside.files
    )


def _merge(listings: list[Listing], opened: set[str]) -> Listing:
    files: dict[str, SourceFile] = {}
    others = []
    for listing in listings:
        for file in listing.files:
            if file.path in opened and file.kind == ARCHIVE:
                continue
            if files.setdefault(file.path, file).size != file.size:
                others.append(file.path)
    changed = find(
        "file of an archive that is not as in the folder", others, "the folder's counts"
    )
    return Listing(
        tuple(sort_files(files.values())),
        tuple(sorted({name for each in listings for name in each.folders})),
        (*changed, *(finding for each in listings for finding in each.findings)),
    )
