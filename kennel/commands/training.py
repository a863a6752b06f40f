"""The command that trains: `kennel train`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from kennel.commands.recipe_options import recipe_options
from kennel.commands.training_plans import (
    VALID_SHARE,
    check_resumed,
    find_plan,
    new_plan,
)
from kennel.settings import KennelSettings
from models.errors import KennelError

if TYPE_CHECKING:
    from export.training.plans import TrainingPlan

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
    epilog="Examples: kennel train var/data/pets --recipe auto; "
    "kennel train photos --name solar --recipe conv-block5 --epochs 60,12; "
    "kennel train --resume solar-20260101-120000"
)
@click.argument("data", type=click.Path(exists=True, path_type=Path), required=False)
@click.option("--name", help="The model's name; default: DATA's.")
@click.option(
    "--recipe", default="pooled", show_default=True, help="See kennel recipes; or auto."
)
@recipe_options
@click.option(
    "--weights",
    default="auto",
    show_default=True,
    help="Pretrained weights: imagenet, package, none, or a Keras weight file.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Arithmetic of frozen layers in training; validation is float32.",
)
@click.option(
    "--valid",
    type=float,
    help=f"Share for validation of photos without a split.  [default: {VALID_SHARE}]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=42,
    show_default=True,
    help="Seed of split and training.",
)
@click.option("--sample", is_flag=True, help="Only the sample that prepare drew.")
@click.option("--strict", is_flag=True, help="Train nothing if a file is left out.")
@click.option("--unlabelled", type=_FOLDER, help="Photos to pseudo-label and learn.")
@click.option("--teacher", help="The run that labels them.")
@click.option(
    "--overfit",
    type=click.IntRange(min=2),
    help="Only check that so many photos are learnt.",
)
@click.option("--run", help="The run's name; default: model name and time.")
@click.option("--resume", help="Go on with this run; nothing else is needed.")
@click.pass_context
def train(
    context: click.Context,
    /,
    data: Path | None,
    overfit: int | None,
    resume: str | None,
    **options: Any,
) -> None:
    """Train a model on the photos in DATA: prepared, or as `kennel prepare` takes them.

    What is left out of a folder that is not prepared is printed with the reasons.
    """
    if data is None and resume is None:
        raise click.UsageError("give DATA, or --resume RUN")
    if overfit is not None and resume is not None:
        raise click.UsageError("--overfit is a check before a run, not with --resume")
    if (options["unlabelled"] is None) != (options["teacher"] is None):
        raise click.UsageError("--unlabelled and --teacher go together")
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    settings = KennelSettings.from_env(os.environ)
    if resume is not None:
        given = {
            name: value
            for name, value in options.items()
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT
        }
        plan = find_plan(resume, settings)
        check_resumed(plan, settings, data, given)
        _train(plan, fresh=False)
        return
    plan = new_plan(settings, data or Path(), options)
    if overfit is not None:
        _check_overfit(plan, overfit)
        return
    _train(plan, fresh=True)


def _check_overfit(plan: TrainingPlan, count: int) -> None:
    from export.training.train import check_overfit
    from kennel.progress import progress_bars

    with progress_bars() as progress:
        check = check_overfit(plan, count, progress)
    click.echo(
        f"{check.photos} photos: accuracy {check.accuracy:.3f} after {check.epochs} "
        f"epochs: {'learnt' if check.passed else 'not learnt'}"
    )
    for cause in check.causes:
        click.echo(f"  likely: {cause}")
    if not check.passed:
        raise SystemExit(1)


def _train(plan: TrainingPlan, *, fresh: bool) -> None:
    from export.training.runs import is_finished, read_run
    from export.training.train import train as train_plan
    from kennel.commands.figures import (
        print_diagnosis,
        print_expected_score,
        print_metrics,
    )
    from kennel.progress import progress_bars

    name = shlex.quote(plan.folder.name)
    if fresh:
        plan.write()
        click.echo(f"Run: {plan.folder}", err=True)
    try:
        if is_finished(plan.folder):
            click.echo(f"{plan.folder.name} is finished: nothing is left to train.")
            trained = read_run(plan.folder, Path())
        else:
            with progress_bars() as progress:
                trained = train_plan(plan, progress)
    except KennelError:
        if fresh:
            plan.forget_unless_begun()
        raise
    except KeyboardInterrupt as interrupt:
        click.echo(f"Go on with: kennel train --resume {name}", err=True)
        raise click.Abort from interrupt
    print_metrics(trained, trained.metrics)
    print_expected_score(trained)
    print_diagnosis(trained)
    click.echo(f"Run: {trained.folder}\nNext: kennel export {name}")
