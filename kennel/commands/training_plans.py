"""From the options of `kennel train` to the plan of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kennel.commands.preparing import print_findings, print_source
from kennel.commands.recipe_options import change_recipe, read_recipe
from kennel.settings import KennelSettings
from models.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    quoted,
)
from models.text import is_writable

if TYPE_CHECKING:
    from export.data.sources.files import CollectedPhotos
    from export.training.plans import TrainingPlan

VALID_SHARE: Final = 0.2
"""Share of each class that validates, where the photos have no split of their own."""


def new_plan(
    settings: KennelSettings, data: Path, options: dict[str, Any]
) -> TrainingPlan:
    """What the *options* of `kennel train` say about the photos in *data*.

    Raises:
        KennelError: they do not fit the photos, or each other.
    """
    from export.data.splits import find_split, has_split
    from export.training.folds import join_parts
    from export.training.plans import TrainingPlan
    from models.wire.config import check_model_name

    name = check_model_name(options.pop("name") or data.absolute().name)
    run = options.pop("run") or f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    _check_run_name(run)
    folder = (data / "sample" if options.pop("sample") else data).absolute()
    if not folder.is_dir():
        message = f"{data} has no sample: kennel prepare draws one into DEST/sample"
        raise NotFoundError(message)
    recipe, seed = options.pop("recipe"), options.pop("seed")
    teacher, unlabelled = options.pop("teacher"), options.pop("unlabelled")
    strict = options.pop("strict")
    valid = options.pop("valid")
    share = VALID_SHARE if valid is None else valid
    if not 0 < share < 1:
        message = f"--valid {share:g}: give a share between 0 and 1, such as 0.2"
        raise InvalidRequestError(message)
    split = find_split(folder, share, seed, report=partial(_report, strict=strict))
    plan = TrainingPlan(
        name=name,
        split=split,
        weights=_absolute_weights(options.pop("weights")),
        precision=options.pop("precision"),
        recipe=read_recipe("pooled" if recipe == "auto" else recipe, options),
        folder=settings.runs_dir / "train" / run,
        cache=settings.cache_dir,
        valid=share,
        seed=seed,
        teacher=str(_run_folder(teacher, settings)) if teacher else "",
        unlabelled=str(unlabelled.absolute()) if unlabelled else "",
        strict=strict,
    )
    if recipe == "auto":
        plan = replace(plan, recipe=_chosen_recipe(plan, options))
    if plan.recipe.folds or has_split(plan.split):
        if valid is not None:
            reason = f"{folder} has parts for training and validation already"
            if plan.recipe.folds:
                reason = f"in {plan.recipe.folds} folds every photo validates (--folds)"
            raise InvalidRequestError(f"--valid {valid:g} changes nothing: {reason}")
        plan = replace(plan, valid=None)
    if plan.recipe.folds:
        plan = replace(plan, split=join_parts(plan.split, plan.recipe.folds))
    return plan


def _report(found: CollectedPhotos, *, strict: bool) -> None:
    from export.data.prepare import StrictError

    print_source(found.summary(len(found.photos)), err=True)
    if found.test:
        scored = any(photo.label for photo in found.test)
        later = "kennel evaluate RUN --photos" if scored else "kennel submit"
        click.echo(
            f"{len(found.test):,} of them are test photos, for {later}, not trained on",
            err=True,
        )
    print_findings(found.findings, named=3, err=True)
    if strict and found.findings:
        raise StrictError(found.findings)


def find_plan(run: str, settings: KennelSettings) -> TrainingPlan:
    """The plan of a run that was begun before.

    Raises:
        KennelError: there is none, or it cannot be read.
    """
    from export.training.plans import read_plan

    return read_plan(_run_folder(run, settings))


def check_resumed(
    plan: TrainingPlan,
    settings: KennelSettings,
    data: Path | None,
    given: Mapping[str, Any],
) -> None:
    """Accept DATA and the options *given* beside --resume: they must be those of *plan*.

    Raises:
        ConflictError: some are not; it names both values of each.
        KennelError: a value that cannot be.
    """
    from export.recipes.overrides import option_value

    then = {
        "name": plan.name,
        "recipe": plan.recipe.name,
        "weights": plan.weights,
        "precision": plan.precision,
        "valid": str(plan.valid or _other_validation(plan)),
        "seed": str(plan.seed),
        "run": plan.folder.name,
        "unlabelled": plan.unlabelled or "none",
        "teacher": plan.teacher or "none",
        "strict": str(plan.strict),
    }
    now = {name: str(value) for name, value in given.items() if name in then}
    if data is not None or given.get("sample"):
        used = Path(plan.split.folder)
        folder = data or (used.parent if used.name == "sample" else used)
        then["DATA"] = plan.split.folder
        now["DATA"] = str(
            (folder / "sample" if given.get("sample") else folder).absolute()
        )
    if "weights" in now:
        now["weights"] = _absolute_weights(given["weights"])
    if "teacher" in now:
        now["teacher"] = str(_run_folder(given["teacher"], settings))
    if "unlabelled" in now:
        now["unlabelled"] = str(given["unlabelled"].absolute())
    for name in given.keys() - now.keys() - {"sample"}:
        then[name] = option_value(plan.recipe, name)
        changed = change_recipe(plan.recipe, {name: given[name]})
        now[name] = option_value(changed, name)
    if now.get("recipe") == "auto":
        del now["recipe"]  # the run has what was chosen then
    other = [
        f"{name if name == 'DATA' else '--' + name.replace('_', '-')} {value} "
        f"(the run has {then[name]})"
        for name, value in sorted(now.items())
        if value != then[name]
    ]
    if other:
        message = (
            f"the run {plan.folder.name} was begun otherwise: {', '.join(other)}. Leave "
            "these out to go on with it, or train a new run without --resume"
        )
        raise ConflictError(message, code="run_differs")


def _chosen_recipe(plan: TrainingPlan, options: dict[str, Any]) -> Any:
    from export.recipes.catalogue import choose_recipe, smallest_class
    from export.training.train import measure_similarity
    from kennel.progress import progress_bars

    with progress_bars() as progress:
        similarity = measure_similarity(plan, progress)
    choice = choose_recipe(smallest_class(plan.split), similarity)
    click.echo(f"Recipe {choice.recipe}: {choice.reason}.")
    return read_recipe(choice.recipe, options)


def _check_run_name(name: str) -> None:
    if Path(name).name != name or name[0] in "-." or not is_writable(name):
        message = (
            f"--run {quoted(name)}: give a name without folders, that begins with a "
            "letter or digit; RUNS_DIR says where runs lie"
        )
        raise InvalidRequestError(message)


def _absolute_weights(choice: str) -> str:
    from models.networks.weights import WEIGHT_CHOICES

    # A run may be resumed from another folder.
    return choice if choice in WEIGHT_CHOICES else str(Path(choice).absolute())


def _other_validation(plan: TrainingPlan) -> str:
    folds = plan.recipe.folds
    return f"{folds} folds" if folds else "a split of its own"


def _run_folder(run: str, settings: KennelSettings) -> Path:
    from export.training.runs import find_run

    return find_run(run, settings.runs_dir).absolute()
