"""The plan of a destination: written before anything is touched, gone when all is done.

It holds all that is needed to go on after a crash without looking at the source again,
half of which may have been moved by then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from export.data.manifest import PLAN_FILE, Manifest, parse_manifest
from export.data.preparation.placing import Step
from export.data.sources.files import Origin
from models.errors import DatasetError
from models.files import parse_json, write_atomically


@dataclass(frozen=True)
class Plan:
    """What the destination will be, and where each of its files is taken from.

    ``previous`` names a folder in the destination that keeps what was there before while
    it is rebuilt; ``retired`` says that everything old is in it.
    """

    manifest: Manifest
    origins: tuple[Origin, ...]
    transfer: str
    previous: str = ""
    retired: bool = True

    def steps(self, dest: Path) -> Iterator[Step]:
        """One step for each file, those that others are taken from first."""
        for file, origin in zip(self.manifest.files, self.origins, strict=True):
            yield Step(
                target=dest / file.file,
                origin=origin,
                transfer=self._transfer(file.part, dest, origin),
                size=file.size,
                sha256=file.sha256,
            )

    def write(self, dest: Path) -> None:
        """Write the plan into *dest*.

        Raises:
            OSError: the disk is full or read-only.
        """
        content = {
            "manifest": self.manifest.content(),
            "origins": [[str(x.location), *x.members] for x in self.origins],
            "transfer": self.transfer,
            "previous": self.previous,
            "retired": self.retired,
        }
        write_atomically(dest / PLAN_FILE, json.dumps(content))

    def _transfer(self, part: str, dest: Path, origin: Origin) -> str:
        if part.startswith("sample/"):
            return "copy" if self.transfer == "copy" else "link"
        kept = self.previous and origin.location.is_relative_to(dest / self.previous)
        return "move" if kept else self.transfer


def read_plan(dest: Path) -> Plan | None:
    """The plan of *dest*, or None if nothing is unfinished there.

    Raises:
        DatasetError: it is damaged.
    """
    path = dest / PLAN_FILE
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        origins = [Origin(Path(x[0]), tuple(x[1:])) for x in content.pop("origins")]
        manifest = parse_manifest(content.pop("manifest"))
        return Plan(manifest=manifest, origins=tuple(origins), **content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} cannot be read ({error}): use another destination"
        raise DatasetError(message) from error
