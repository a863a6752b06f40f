"""All files of a source: those in its folders and those in its zip files."""

from __future__ import annotations

from pathlib import Path

from export.data.sources.archives import Archives
from export.data.sources.files import (
    ARCHIVE_SUFFIX,
    Listing,
    Origin,
    SourceFile,
    sort_files,
    walk_folder,
)


def list_source(source: Path, archives: Archives) -> Listing:
    """What *source*, a folder or a zip file, holds; zip files inside it are opened.

    Where a file lies both in a folder and in a zip file of that name, the folder counts:
    someone has unpacked the zip file and left it there.

    Raises:
        NotFoundError: there is no such folder or file.
        DatasetError: a zip file is damaged.
    """
    if source.suffix.lower() == ARCHIVE_SUFFIX and source.is_file():
        outer = archives.list_members(Origin(source), "")
    else:
        outer = walk_folder(source)
    zips = [file for file in outer.files if file.path.lower().endswith(ARCHIVE_SUFFIX)]
    inner = [archives.list_members(file.origin, file.path) for file in zips]
    return _merge([outer, *inner], {file.path for file in zips})


def _merge(listings: list[Listing], opened: set[str]) -> Listing:
    files: dict[str, SourceFile] = {}
    for listing in listings:
        for file in listing.files:
            if file.path not in opened:
                files.setdefault(file.path, file)
    return Listing(
        tuple(sort_files(files.values())),
        tuple(sorted({name for each in listings for name in each.folders})),
        tuple(name for each in listings for name in each.unsafe),
    )
