"""How often a shard was begun, counted on disk: Redis may forget, a poison shard may not.

Each attempt is a line when it begins, and one more if it could still say why it ended.
One that only waited for its model says so, and then does not count.

From the third attempt on a shard is worked on image by image, each named in a line before
it is read: the one at which the process dies again is left out.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from models.errors import NotFoundError
from worker.manifest import MAX_NAMED
from worker.run import Run
from worker.run_folder import now
from worker.run_items import shard_items

MAX_ATTEMPTS: Final = 10
"""A shard that kills its process ends the run after so many; workers that were killed
from outside (restarts, upgrades) must not use them up."""

ASSEMBLY: Final = "assemble"

_QUICK_ATTEMPTS: Final = 2
"""How often a shard is begun at full speed."""

_DEATHS: Final = 2
"""A process may be killed from outside, but hardly twice at the same image."""

_BEGUN: Final = "begun "
_AT: Final = "at "
_DECODED: Final = "decoded"
_BROKEN: Final = "broken "
_WAITED: Final = "waited "
_WAIT: Final = re.compile(_WAITED + r"(\d+\.\d)")


def attempts_left(run: Run, work: str) -> int:
    """How often *work* (a shard, or the assembly) may still be begun."""
    return max(0, MAX_ATTEMPTS - _begun(_lines(run, work)))


def count_attempts(run: Run) -> tuple[int, int]:
    """How many attempts of *run* were begun, and how many said why they broke off.

    One whose process died is begun and has said nothing. Those that only waited for
    their model are left out.
    """
    works = [path.name for path in _path(run, ASSEMBLY).parent.glob("*")]
    lines = [line for work in works for line in _lines(run, work)]
    return _begun(lines), sum(line.startswith(_BROKEN) for line in lines)


def record_attempt(run: Run, work: str) -> None:
    """Count one begun attempt, durably.

    Raises:
        OSError: the disk is full or read-only.
    """
    _append(run, work, f"{_BEGUN}{now()} process {os.getpid()}")


def record_failure(run: Run, work: str, reason: str) -> None:
    """Keep why the attempt broke off, for the run's reason.

    Raises:
        OSError: the disk is full or read-only.
    """
    _append(run, work, _BROKEN + " ".join(reason.split())[:500])


def record_wait(run: Run, work: str, seconds: float) -> None:
    """Count the attempt that was begun as a wait of so many *seconds* for the model.

    Raises:
        OSError: the disk is full or read-only.
    """
    _append(run, work, f"{_WAITED}{seconds:.1f}")


def is_careful(run: Run, work: str) -> bool:
    """Whether the attempt that was begun has to find the image that broke others."""
    return _begun(_lines(run, work)) > _QUICK_ATTEMPTS


def record_image(run: Run, work: str, number: int) -> None:
    """Keep that the image of that *number* in its shard is read next.

    Raises:
        OSError: the disk is full or read-only.
    """
    _append(run, work, f"{_AT}{number}")


def record_decoded(run: Run, work: str) -> None:
    """Keep that the images that were read are decoded: none of them is at work.

    Raises:
        OSError: the disk is full or read-only.
    """
    _append(run, work, _DECODED)


def deadly_images(run: Run, work: str) -> frozenset[int]:
    """Numbers in their shard of the images at which the process died twice."""
    lines = _lines(run, work)
    last = [line for line, then in pairwise(lines) if then.startswith(_BEGUN)]
    deaths = Counter(int(line[len(_AT) :]) for line in last if line.startswith(_AT))
    return frozenset(each for each, count in deaths.items() if count >= _DEATHS)


def seconds_waited(run: Run, work: str) -> float:
    """How long *work* waited for its model so far."""
    found = (_WAIT.fullmatch(line) for line in _lines(run, work))
    return sum(float(each[1]) for each in found if each)


def last_failure(run: Run, work: str) -> str:
    """Why the last attempt broke off, as far as it could tell."""
    lines = _lines(run, work)
    if lines and lines[-1].startswith(_BROKEN):
        return lines[-1].removeprefix(_BROKEN)
    return "its process died"


def shard_work(number: int) -> str:
    """What a shard's attempts are counted under."""
    return f"{number:05d}"


def give_up(run: Run, work: str) -> None:
    """End *run* because *work* has used up its attempts; the reason names its images.

    Raises:
        NotFoundError: the manifest cannot be read.
        OSError: the disk is full or read-only.
    """
    reason = last_failure(run, work)
    if work == ASSEMBLY:
        run.fail(f"the CSV could not be written in {MAX_ATTEMPTS} attempts: {reason}")
        return
    files = _files(run, int(work))
    named = ", ".join(files[:MAX_NAMED])
    sound = _DECODED in _lines(run, work)
    message = (
        f"shard {int(work)} did not finish in {MAX_ATTEMPTS} attempts ({reason}); "
        f"its {len(files)} images: {named}"
        f"{' (they can be read: none of them is the cause)' if sound else ''}. "
        "Remedy what is named, then retry the job"
    )
    run.fail(message, files)


def _files(run: Run, number: int) -> list[str]:
    try:
        return [item.file for item in shard_items(run, number)]
    except (NotFoundError, OSError):
        # What cannot be read may be just why the shard breaks off.
        return []


def _begun(lines: Sequence[str]) -> int:
    waited = sum(line.startswith(_WAITED) for line in lines)
    return sum(line.startswith(_BEGUN) for line in lines) - waited


def _path(run: Run, work: str) -> Path:
    return run.attempts / work


def _lines(run: Run, work: str) -> list[str]:
    try:
        return _path(run, work).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _append(run: Run, work: str, line: str) -> None:
    with _path(run, work).open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
        stream.flush()
        os.fsync(stream.fileno())
