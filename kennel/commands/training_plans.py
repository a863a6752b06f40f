"""From the options of `kennel train` to the plan of a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kennel.commands.preparing import print_findings, print_source
from kennel.commands.recipe_options import read_recipe
from kennel.settings import KennelSettings

if TYPE_CHECKING:
    from export.data.sources.photos import Collection
    from export.training.plans import TrainingPlan


def new_plan(
    settings: KennelSettings, data: Path, options: dict[str, Any]
) -> TrainingPlan:
    """What the *options* of `kennel train` say about the photos in *data*.

    Raises:
        KennelError: they do not fit the photos, or each other.
    """
    from export.data.photos import find_split
    from export.training.folds import join_parts
    from export.training.plans import TrainingPlan
    from models.wire.config import check_model_name

    name = check_model_name(options.pop("name") or data.absolute().name)
    run = options.pop("run") or f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    folder = (data / "sample" if options.pop("sample") else data).absolute()
    recipe, seed = options.pop("recipe"), options.pop("seed")
    teacher, unlabelled = options.pop("teacher"), options.pop("unlabelled")
    report = partial(_report, strict=options.pop("strict"))
    split = find_split(folder, options.pop("valid"), seed, report=report)
    plan = TrainingPlan(
        name=name,
        split=split,
        weights=options.pop("weights"),
        precision=options.pop("precision"),
        recipe=read_recipe("pooled" if recipe == "auto" else recipe, options),
        folder=settings.runs_dir / "train" / run,
        cache=settings.cache_dir,
        seed=seed,
        teacher=str(_run_folder(teacher, settings)) if teacher else "",
        unlabelled=str(unlabelled.absolute()) if unlabelled else "",
    )
    if recipe == "auto":
        plan = replace(plan, recipe=_chosen_recipe(plan, options))
    if plan.recipe.folds:
        plan = replace(plan, split=join_parts(plan.split, plan.recipe.folds))
    return plan


def _report(found: Collection, *, strict: bool) -> None:
    from export.data.preparation.refusals import StrictError

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


def _chosen_recipe(plan: TrainingPlan, options: dict[str, Any]) -> Any:
    from export.recipes.choice import choose_recipe, smallest_class
    from export.training.similarity import measure_similarity
    from kennel.progress import progress_bars

    with progress_bars() as progress:
        similarity = measure_similarity(plan, progress)
    choice = choose_recipe(smallest_class(plan.split), similarity)
    click.echo(f"Recipe {choice.recipe}: {choice.reason}.")
    return read_recipe(choice.recipe, options)


def _run_folder(run: str, settings: KennelSettings) -> Path:
    from export.training.runs import find_run

    return find_run(run, settings.runs_dir).absolute()
