"""`kennel train`, and what it can train: `kennel recipes`, `kennel networks`."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from kennel.commands.options import JSON_OPTION
from kennel.commands.prepare import print_findings, print_source
from kennel.commands.runs import (
    print_diagnosis,
    print_expected_score,
    print_metrics,
    read_views,
)
from kennel.settings import KennelSettings
from kennel.terminal import progress_bars
from models.errors import (
    ConflictError,
    InvalidRequestError,
    KennelError,
    NotFoundError,
    quoted,
)
from models.text import is_writable

if TYPE_CHECKING:
    from export.data.sources.files import CollectedPhotos
    from export.recipes.catalogue import Recipe
    from export.training.plans import TrainingPlan
    from models.networks.registry import NetworkDescription


VALID_SHARE: Final = 0.2
"""Share of each class for validation, if the photos have no split of their own."""

_CHOSEN_THEN: Final = {("recipe", "auto"), ("precision", "auto")}
"""Options beside --resume that leave a run what was chosen for it."""

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def recipe_options(command: Any) -> Any:
    """Add the options that replace a recipe's values; a comma separates the stages."""
    options = [
        click.option("--network", help="Another network: see kennel networks."),
        click.option("--image-size", type=int, help="Pixels a side."),
        click.option("--epochs", help="Epochs at most, for example 10 or 3,10."),
        click.option(
            "--patience",
            help="Epochs without a better validation loss before a stage ends.",
        ),
        click.option("--optimizer", help="adamw, adam, rmsprop, sgd ..."),
        click.option("--learning-rate", help="For example 1e-3 or 1e-3,1e-5."),
        click.option("--schedule", help="Of the learning rate: constant or cosine."),
        click.option("--dropout", type=float, help="Rate before the last layer."),
        click.option("--hidden", help="Units of the head's layers, such as 256,128."),
        click.option("--augmentation", help="A name, or dogscats,rotation=20 ..."),
        click.option("--passes", help="Augmented copies to cache; 0: anew each epoch."),
        click.option("--batch-size", type=int, help="Photos in a training step."),
        click.option("--label-smoothing", type=float, help="Share spread evenly."),
        click.option("--members", type=int, help="Models to train and average."),
        click.option("--folds", type=int, help="Cross-validate; then train on all."),
        click.option("--views", help="Flips to average: none,horizontal ..."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command(
    epilog="Examples: kennel train var/data/pets --recipe auto; "
    "kennel train photos --name solar --recipe conv-block5 --epochs 60,12; "
    "kennel train --resume solar-20260101-120000"
)
@click.argument("data", type=click.Path(exists=True, path_type=Path), required=False)
@click.option("--name", help="The model's name; default: DATA's.")
@click.option(
    "--recipe",
    default="pooled",
    show_default=True,
    help="A name from kennel recipes, or auto.",
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
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    default="auto",
    show_default=True,
    help="Arithmetic of frozen layers. int8: frozen convolutions in eight bits, in "
    "training, validation and the published model, which is for CPUs only; others: in "
    "training alone. auto: the fastest on this machine for these photos.",
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
@click.option(
    "--sample", is_flag=True, help="Train on the sample that kennel prepare drew."
)
@click.option("--strict", is_flag=True, help="Train nothing if a file is left out.")
@click.option("--unlabelled", type=_FOLDER, help="Photos to pseudo-label and learn.")
@click.option("--teacher", help="The run that labels the photos of --unlabelled.")
@click.option(
    "--overfit",
    type=click.IntRange(min=2),
    help="Only check that the network can learn so many photos by heart.",
)
@click.option("--run", help="The run's name; default: model name and time.")
@click.option("--resume", help="Resume this run; no other option is needed.")
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
        from export.training.plans import read_plan

        given = {
            name: value
            for name, value in options.items()
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT
        }
        plan = read_plan(_run_folder(resume, settings))
        check_resumed(plan, settings, data, given)
        _train(plan, fresh=False)
        return
    plan = new_plan(settings, data or Path(), options)
    if overfit is not None:
        _check_overfit(plan, overfit)
        return
    _train(plan, fresh=True)


@click.command(epilog="Examples: kennel recipes; kennel recipes conv-block5 --json")
@click.argument("name", required=False)
@JSON_OPTION
def recipes(name: str | None, as_json: bool) -> None:
    """List the recipes for training, or show the one called NAME."""
    from export.recipes.catalogue import RECIPES, find_recipe

    chosen = [find_recipe(name)] if name else list(RECIPES.values())
    if as_json or name:
        shown = [{"command": each.command, **asdict(each)} for each in chosen]
        click.echo(json.dumps(shown, indent=2))
        return
    for each in chosen:
        click.echo(f"{each.name:<20}{each.network:<10}{each.source}")
        click.echo(f"{'':<20}{each.command}")
        if each.expects:
            click.echo(f"{'':<20}expect {each.expects}")


@click.command(
    epilog="Examples: kennel networks; kennel networks resnet50 --classes 2; "
    "kennel networks lenet5 --json"
)
@click.argument("name", required=False)
@click.option(
    "--classes",
    type=click.IntRange(min=2),
    help="Labels that NAME tells apart; default: as in its source.",
)
@JSON_OPTION
def networks(name: str | None, classes: int | None, as_json: bool) -> None:
    """List the networks that can be trained, or the layers of the one called NAME."""
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    if name is None:
        _print_list(_list_networks(), as_json)
        return
    from models.networks.registry import USUAL_CLASSES, describe_network, find_network

    network = find_network(name)
    described = describe_network(network, classes or USUAL_CLASSES.get(name, 1000))
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(described)))
        return
    _print_layers(described)


def new_plan(
    settings: KennelSettings, data: Path, options: dict[str, Any]
) -> TrainingPlan:
    """The plan of a new run on the photos in *data*, from the options of `kennel train`.

    Raises:
        KennelError: the options contradict the photos or each other.
    """
    from export.data.splits import find_split, has_split, join_parts
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
    split = find_split(
        folder, share, seed, report=partial(_print_left_out, strict=strict)
    )
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


def _print_left_out(found: CollectedPhotos, *, strict: bool) -> None:
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


def check_resumed(
    plan: TrainingPlan,
    settings: KennelSettings,
    data: Path | None,
    given: Mapping[str, Any],
) -> None:
    """Check that DATA and the options *given* beside --resume are those of *plan*.

    Raises:
        ConflictError: some differ; the message names both values of each.
        KennelError: an option's value is impossible.
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
        changed = _change_recipe(plan.recipe, {name: given[name]})
        now[name] = option_value(changed, name)
    other = [
        f"{name if name == 'DATA' else '--' + name.replace('_', '-')} {value} "
        f"(the run has {then[name]})"
        for name, value in sorted(now.items())
        if value != then[name] and (name, value) not in _CHOSEN_THEN
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


def read_recipe(name: str, options: Mapping[str, Any]) -> Recipe:
    """The recipe called *name*, with the *options* of the command line applied.

    Raises:
        InvalidRequestError: there is no such recipe, or an option's value is impossible
            or would change nothing.
    """
    from export.recipes.catalogue import find_recipe

    return _change_recipe(find_recipe(name), options)


def _change_recipe(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    from export.recipes.overrides import override

    values = dict(options)
    if values.get("image_size") is not None:
        values["image_size"] = (values["image_size"], values["image_size"])
    if values.get("hidden") is not None:
        values["hidden"] = _numbers(values["hidden"])
    if values.get("views") is not None:
        values["views"] = read_views(values["views"])
    return override(recipe, values)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError as error:
        message = f"--hidden {text!r}: give numbers of units, such as 256,128"
        raise InvalidRequestError(message) from error


def _check_overfit(plan: TrainingPlan, count: int) -> None:
    from export.training.train import check_overfit

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
    from export.training.precision import choose_precision
    from export.training.runs import is_finished, read_run
    from export.training.train import train as train_plan

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
                if fresh:
                    plan = choose_precision(plan, progress)
                    if plan.chosen_precision:
                        click.echo(f"Precision {plan.chosen_precision}.")
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


def _list_networks() -> list[dict[str, Any]]:
    from models.networks.registry import PARAMETER_COUNTS, find_network, network_names

    return [
        {
            "name": network.name,
            "image_size": list(network.image_size),
            "smallest_image": network.smallest_image,
            "parameters": PARAMETER_COUNTS.get(network.name),
            "source": network.source,
        }
        for network in map(find_network, network_names())
    ]


def _print_list(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows))
        return
    click.echo(f"{'name':<20}{'input':<12}{'parameters':>12}  source")
    for row in rows:
        size = " x ".join(str(side) for side in row["image_size"])
        count = f"{row['parameters']:,}" if row["parameters"] else "-"
        click.echo(f"{row['name']:<20}{size:<12}{count:>12}  {row['source']}")
    click.echo("Layers and parameters of one: kennel networks NAME")


def _print_layers(network: NetworkDescription) -> None:
    height, width = network.image_size
    click.echo(f"{network.name}: {network.source}")
    click.echo(f"{height} x {width} RGB pixels, {network.classes} classes\n")
    longest = max(len(layer.name) for layer in network.layers) + 2
    for layer in network.layers:
        shape = " x ".join(str(side) for side in layer.shape)
        click.echo(
            f"{layer.name:<{longest}}{layer.kind:<26}{shape:<18}{layer.parameters:>12,}"
        )
    click.echo(f"\n{network.parameters:,} parameters")
