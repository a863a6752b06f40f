"""A sample_submission.csv: the CSV gets its header, and its ids in its order.

Its ids may be those of the images, their file names or these without extension, one way
for all of them. They must be exactly the job's: a CSV with other rows would be refused
after the work, or score the wrong images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from models.errors import quoted
from worker.items import Item
from worker.naming import Named
from worker.sheets.reading import Sheet


def file_name(file: str) -> str:
    """The last part of *file*, which may lie in folders."""
    return file.rpartition("/")[2]


def file_stem(file: str) -> str:
    """The last part of *file* without its extension."""
    return os.path.splitext(file_name(file))[0]  # noqa: PTH122


_WAYS: Final = (
    lambda item: item.id,
    lambda item: file_name(item.file),
    lambda item: file_stem(item.file),
)


def follow_sample(sample: Sheet, items: Sequence[Item]) -> tuple[Item, ...]:
    """*items* with the ids of *sample* and in its order.

    Raises:
        InvalidRequestError: it cannot be read, names an image twice, or its ids are
            not exactly those of *items*; the message names the first.
    """
    by_id = _by_id(sample, items)
    lines: dict[str, int] = {}
    ordered = []
    unknown = Named()
    for line, (id_, *_) in sample.rows():
        item = by_id.get(id_.strip(" "))
        if item is None:
            unknown.add(id_)
            continue
        first = lines.setdefault(item.file, line)
        if first != line:
            reason = f"id {quoted(id_)} is in line {first} already: remove one"
            raise sample.refusal(reason, line)
        ordered.append(Item(id_, item.file))
    absent = Named.of(item.id for item in items if item.file not in lines)
    if unknown.count or absent.count:
        raise sample.refusal(_explain(unknown, absent))
    return tuple(ordered)


def _by_id(sample: Sheet, items: Sequence[Item]) -> dict[str, Item]:
    best: dict[str, Item] = {}
    most = -1
    for way in _WAYS:
        known = {way(item): item for item in items}
        if known.keys() == best.keys():
            continue
        matches = sum(cells[0].strip(" ") in known for _, cells in sample.rows())
        if matches > most:
            best, most = known, matches
        if matches >= len(items):
            break
    return best


def _explain(unknown: Named, absent: Named) -> str:
    reasons = []
    if unknown.count:
        reasons.append(f"{unknown.count:,} of its ids have no image ({unknown})")
    if absent.count:
        reasons.append(
            f"{absent.count:,} images are not in it ({absent}); a manifest that lists "
            "the others leaves them out"
        )
    return f"{'; '.join(reasons)}. Use the sample that belongs to these images"
