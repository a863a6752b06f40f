"""Loss and accuracy of every epoch: did it learn, and did it overfit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from export.recipes.catalogue import EXACT
from export.report.charts import (
    Axis,
    Chart,
    Divider,
    Line,
    Marks,
    Shape,
    axis_over,
    chart_figure,
    epoch_axis,
)
from export.report.content import ReportContent, ReportedStage
from export.report.drawing.markup import (
    Markup,
    details,
    heading,
    join,
    panels,
    paragraph,
    table,
)
from export.report.drawing.numbers import count, loss, percent, plural
from export.training.checkpoints import Epoch


def training_curves_section(content: ReportContent) -> Markup:
    """Two charts for each member of the ensemble, and the numbers behind them."""
    if not content.epochs:
        return Markup("")
    by_member = groupby(
        sorted(content.epochs, key=lambda epoch: epoch.member),
        lambda epoch: epoch.member,
    )
    members = {member: list(epochs) for member, epochs in by_member}
    note = (
        "Rings mark the epoch of each stage with the least validation loss. Training "
        "figures include the recipe's dropout, augmentation and label smoothing, so they "
        "may be worse than those of validation. Validation loss that rises while training "
        "loss still falls is overfitting."
    )
    shown = join(
        _member(content, each, epochs, members) for each, epochs in members.items()
    )
    return Markup(_stages(content.stages) + shown + paragraph(note, quiet=True))


def _stages(stages: Sequence[ReportedStage]) -> Markup:
    if not stages:
        return Markup("")
    several = any(each.model for each in stages)
    named = ["model"] if several else []
    head = ["stage", *named, "trains", "parameters", "epochs", "kept", "ended"]
    rows = [
        [
            str(each.number),
            *([each.model] if several else []),
            each.trains,
            "" if each.parameters is None else count(each.parameters),
            count(each.epochs),
            f"epoch {each.kept}" if each.kept else "nothing: no epoch was better",
            each.ended,
        ]
        for each in stages
    ]
    return table("Stages", head, rows)


def _member(
    content: ReportContent,
    member: int,
    epochs: list[Epoch],
    members: dict[int, list[Epoch]],
) -> Markup:
    title = Markup("")
    if len(members) > 1:
        name = content.models.get(member) or f"member {member} of {len(members)}"
        title = heading(3, name.capitalize())
    exact = any(each.optimizer == EXACT for each in content.stages)
    rate = "regularisation" if exact else "learning rate"
    # The same scale for every member, so that they can be compared.
    everything = [epoch for each in members.values() for epoch in each]
    losses = [value for each in everything for value in (each.loss, each.val_loss)]
    shares = [v for each in everything for v in (each.accuracy, each.val_accuracy)]
    both = panels(
        [
            _figure("Loss", epochs, axis_over("log loss", losses), _losses),
            _figure("Accuracy", epochs, axis_over("share right", shares), _accuracies),
        ]
    )
    return Markup(
        title + both + details("Every epoch in numbers", _numbers(epochs, rate))
    )


def _losses(epoch: Epoch) -> tuple[float, float]:
    return epoch.loss, epoch.val_loss


def _accuracies(epoch: Epoch) -> tuple[float, float]:
    return epoch.accuracy, epoch.val_accuracy


def _figure(
    title: str,
    epochs: Sequence[Epoch],
    y: Axis,
    values: Callable[[Epoch], tuple[float, float]],
) -> Markup:
    pairs = [values(epoch) for epoch in epochs]
    train = [(number, pair[0]) for number, pair in enumerate(pairs, start=1)]
    valid = [(number, pair[1]) for number, pair in enumerate(pairs, start=1)]
    best = [valid[index] for index in _best_of_stages(epochs)]
    shapes: list[Shape] = [
        *_stage_dividers(epochs),
        Line("training", train, "two"),
        Line("validation", valid, "one"),
        Marks("best epoch", best),
    ]
    last = best[-1]
    description = (
        f"{title} of {plural(len(epochs), 'epoch')}. Best epoch of the last stage: "
        f"{last[0]:.0f}, validation {last[1]:.4f}, training {train[last[0] - 1][1]:.4f}."
    )
    chart = Chart(description, epoch_axis(len(epochs)), y, shapes)
    return chart_figure(title, [chart], Markup(""))


def _best_of_stages(epochs: Sequence[Epoch]) -> Iterator[int]:
    numbered = enumerate(epochs)
    for _, stage in groupby(numbered, lambda pair: pair[1].stage):
        yield min(stage, key=lambda pair: pair[1].val_loss)[0]


def _stage_dividers(epochs: Sequence[Epoch]) -> list[Divider]:
    starts = [
        (index, epoch.stage)
        for index, epoch in enumerate(epochs)
        if not index or epoch.stage != epochs[index - 1].stage
    ]
    if len(starts) < 2:
        return []
    return [Divider(index + 0.5, f"stage {stage}") for index, stage in starts]


def _numbers(epochs: Sequence[Epoch], rate: str) -> Markup:
    head = [
        "stage, epoch",
        rate,
        "loss",
        "val. loss",
        "accuracy",
        "val. acc.",
    ]
    rows = [
        [
            f"{epoch.stage}, {epoch.number}",
            f"{epoch.learning_rate:.1e}",
            loss(epoch.loss),
            loss(epoch.val_loss),
            percent(epoch.accuracy),
            percent(epoch.val_accuracy),
        ]
        for epoch in epochs
    ]
    return table("Epochs", head, rows)
