"""Training plans: what to train, from which photos, and where the run's files go."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from export.data.checks import check_utf8
from export.data.splits import Split, read_split
from export.recipes.catalogue import Recipe, Stage
from models.errors import ConflictError, DatasetError, NotFoundError
from models.files import parse_json, write_atomically
from models.images.preprocessing import NEWEST, Preprocessing
from models.networks.network import Head

PLAN_FILE: Final = "plan.json"
SPLIT_FILE: Final = "split.json"


@dataclass(frozen=True)
class TrainingPlan:
    """A plan of one run: recipe, photos, options and folder.

    Attributes:
        precision: of frozen features and of convolutions in training: "float32",
            "bfloat16", "int8" (frozen convolutions, also in what is served), or "auto":
            bfloat16 where the processor has it, until `choose_precision` has timed them.
        precision_reason: why this precision was chosen; "": a person named it.
        valid: the share of photos that was cut off for validation; None: they had a
            split of their own, or validate in folds.
        teacher: a finished run whose predictions label ``unlabelled`` photos.
        unlabelled: a folder of photos without labels, to be trained on with the
            teacher's pseudo-labels.
        strict: whether a photo that is left out stops the run.
        preprocessing: how a photo becomes pixels, also where the run's models are served.
    """

    name: str
    split: Split
    recipe: Recipe
    folder: Path
    cache: Path
    seed: int
    weights: str = "auto"
    precision: str = "auto"
    precision_reason: str = ""
    valid: float | None = None
    teacher: str = ""
    unlabelled: str = ""
    strict: bool = False
    preprocessing: Preprocessing = NEWEST

    @property
    def chosen_precision(self) -> str:
        """The precision and why it was chosen, as text; empty if a person named it."""
        reason = self.precision_reason
        return f"{self.precision}: {reason}" if reason else ""

    def write(self) -> None:
        """Write plan and split into the run's folder, with which the run begins.

        Raises:
            ConflictError: the folder holds another run.
            DatasetError: the folder's name, or that of the cache, is not UTF-8.
        """
        check_utf8([str(self.folder), str(self.cache), self.unlabelled])
        if (self.folder / PLAN_FILE).exists():
            message = f"{self.folder} holds a run: name another, or --resume it"
            raise ConflictError(message, code="run_exists")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.split.write(self.folder / SPLIT_FILE)
        self.write_options()

    def write_options(self) -> None:
        """Write all but the split into the run's folder, over what is there."""
        content = asdict(self)
        del content["split"], content["folder"]
        text = json.dumps({**content, "cache": str(self.cache)}, indent=2)
        write_atomically(self.folder / PLAN_FILE, text)

    def forget_unless_begun(self) -> None:
        """Remove the run's folder if nothing has been trained in it yet."""
        if not list(self.folder.glob("*.npz")):
            shutil.rmtree(self.folder)


def read_plan(folder: Path) -> TrainingPlan:
    """The plan of the run in *folder*, finished or not.

    Raises:
        NotFoundError: there is none.
        DatasetError: it cannot be read.
    """
    path = folder / PLAN_FILE
    if not path.exists():
        message = f"no training run in {folder}: see `kennel train --help`"
        raise NotFoundError(message, code="run_not_found")
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        content["recipe"] = recipe_from(content["recipe"])
        content["cache"] = Path(content["cache"])
        # Runs from before this member go on as they began.
        first = Preprocessing.WHOLE
        content["preprocessing"] = Preprocessing(content.get("preprocessing", first))
        return TrainingPlan(
            split=read_split(folder / SPLIT_FILE), folder=folder, **content
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} cannot be read ({error}): train again"
        raise DatasetError(message) from error


def recipe_from(content: Mapping[str, Any]) -> Recipe:
    """The recipe in the JSON that `dataclasses.asdict` made of it."""
    values = {key: _tuple(value) for key, value in content.items()}
    values["head"] = Head(**{k: _tuple(v) for k, v in content["head"].items()})
    values["stages"] = tuple(
        Stage(**{k: _tuple(v) for k, v in each.items()}) for each in content["stages"]
    )
    return Recipe(**values)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
