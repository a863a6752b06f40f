"""A sample_submission.csv: the CSV gets its header, and its ids in its order.

Its ids may be those of the images, their file names or these without extension, one way
for all of them, in any Unicode form or case and with folders before them. They must be
exactly the job's: a CSV with other rows would be refused after the work, or score the
wrong images. So numbers that lost their zeros are named, not guessed.

Its values say whether the CSV has probabilities, names of labels or their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from models.errors import quoted, quoted_names
from models.text import has_control, nearest_name, normal_name
from worker.items import Item, file_name, file_stem
from worker.naming import Named
from worker.request import find_label
from worker.sheets.reading import Sheet

NAMES: Final = "names"
NUMBERS: Final = "numbers"
PROBABILITIES: Final = "probabilities"

_NUMBER: Final = re.compile(r"([0-9]{1,9})(\.0)?", re.ASCII)
"""As a column of whole numbers is written, also where a blank made it one of floats."""

_Key: TypeAlias = Callable[[str], str]

_WAYS: Final = (
    lambda item: item.id,
    lambda item: file_name(item.file),
    lambda item: file_stem(item.file),
)


def kinds_of_values(sample: Sheet, labels: Sequence[str]) -> frozenset[str]:
    """What all values of *sample*, which has two columns, may be; blanks say nothing.

    Some of `NAMES` of *labels*, `NUMBERS` from 0 that count them, and `PROBABILITIES`;
    the last where all are blank.

    Raises:
        InvalidRequestError: they are nothing of these; the message names the line.
    """
    kinds: frozenset[str] | None = None
    kinds_of = lru_cache(maxsize=4096)(lambda value: _kinds(value, labels))
    for line, (_, value) in sample.rows():
        if not value.strip():
            continue
        found = kinds_of(normal_name(value))
        if not found:
            raise sample.refusal(_explain_value(value, labels), line)
        kinds, before = found if kinds is None else kinds & found, kinds
        if not kinds:
            reason = (
                f"its value {quoted(value)} is one of the {_either(found)}, those before "
                f"it are {_either(before or ())}: use the sample as it came"
            )
            raise sample.refusal(reason, line)
    return kinds or frozenset({PROBABILITIES})


def _either(kinds: Iterable[str]) -> str:
    return " or ".join(sorted(kinds))


def _explain_value(value: str, labels: Sequence[str]) -> str:
    nearest = nearest_name(value, labels)
    hint = f"; the nearest label is {quoted(nearest)}" if nearest else ""
    return (
        f"its value {quoted(value)} is no label of the model ({quoted_names(labels)}), no "
        f"number of one (0 to {len(labels) - 1}) and no probability{hint}: use the sample "
        "of the data that the model was trained for, or choose a format yourself"
    )


def _kinds(value: str, labels: Sequence[str]) -> frozenset[str]:
    kinds = set()
    if find_label(labels, value) is not None:
        kinds.add(NAMES)
    if number := _NUMBER.fullmatch(value):
        # Where labels are numbers themselves, a number is never the place of one.
        if all(map(_NUMBER.fullmatch, labels)):
            kinds.add(NAMES)
        elif int(number[1]) < len(labels):
            kinds.add(NUMBERS)
    try:
        # Excel writes a comma where people do.
        if 0 <= float(value.replace(",", ".")) <= 1:
            kinds.add(PROBABILITIES)
    except ValueError:
        pass
    return frozenset(kinds)


def follow_sample(sample: Sheet, items: Sequence[Item]) -> tuple[Item, ...]:
    """*items* with the ids of *sample* and in its order.

    Raises:
        InvalidRequestError: it cannot be read, names an image twice, or its ids are
            not exactly those of *items*; the message names the first.
    """
    by_id, key = _by_id(sample, items)
    lines: dict[str, int] = {}
    ordered = []
    unknown, hint = Named(), ""
    for line, (id_, *_) in sample.rows():
        item = None if has_control(id_) else by_id.get(key(id_))
        if item is None:
            hint = hint or _hint(line, id_, by_id)
            unknown.add(id_)
            continue
        first = lines.setdefault(item.file, line)
        if first != line:
            reason = f"id {quoted(id_)} is in line {first} already: remove one"
            raise sample.refusal(reason, line)
        ordered.append(Item(id_, item.file))
    absent = Named.of(item.id for item in items if item.file not in lines)
    if unknown.count or absent.count:
        raise sample.refusal(_explain(unknown, absent, hint))
    return tuple(ordered)


def _loosely(name: str) -> str:
    return normal_name(file_name(name.replace("\\", "/"))).casefold()


def _by_id(sample: Sheet, items: Sequence[Item]) -> tuple[dict[str, Item], _Key]:
    best: tuple[dict[str, Item], _Key] = {}, normal_name
    most = -1
    keys: tuple[_Key, ...] = (normal_name, _loosely)
    for key in keys:
        for way in _WAYS:
            known = {key(way(item)): item for item in items}
            if len(known) < len(items) or known.keys() == best[0].keys():
                continue
            matches = sum(key(cells[0]) in known for _, cells in sample.rows())
            if matches > most:
                best, most = (known, key), matches
            if matches >= len(items):
                return best
    return best


def _hint(line: int, id_: str, by_id: dict[str, Item]) -> str:
    nearest = nearest_name(id_, by_id)
    if nearest is None:
        return ""
    return f"; line {line}: the nearest to {quoted(id_)} is {quoted(nearest)}"


def _explain(unknown: Named, absent: Named, hint: str) -> str:
    reasons = []
    if unknown.count:
        reasons.append(f"{unknown.count:,} of its ids have no image ({unknown}){hint}")
    if absent.count:
        reasons.append(
            f"{absent.count:,} images are not in it ({absent}); a manifest that lists "
            "the others leaves them out"
        )
    return (
        f"{'; '.join(reasons)}. Use the sample that belongs to these images, as it came"
    )
