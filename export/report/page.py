"""The HTML report: one file that needs no network and no script.

A section is a function of the content, in `figures`, `charts` or `pictures`, and the macro
of its anchor in ``templates/report.html``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from export.report import charts, figures, pictures
from export.report.content import ReportContent
from export.report.svg import draw_chart, legend
from models.files import write_atomically


class _Section(NamedTuple):
    anchor: str
    title: str
    data: Any


_SECTIONS: Final[Sequence[tuple[str, str, Callable[[ReportContent], Any]]]] = (
    ("figures", "Headline figures", figures.headline_figures),
    ("data", "Training data", figures.training_data),
    ("curves", "Training curves", charts.training_curves),
    ("diagnosis", "Diagnosis", lambda content: content.diagnosis),
    ("confusion", "Confusion matrix", figures.confusion),
    ("labels", "Figures by label", figures.label_figures),
    ("reliability", "Reliability", charts.reliability),
    ("clipping", "Log loss against the clip bound", charts.clipping),
    ("photos", "Photos", pictures.photos),
    ("attention", "Where the network looks", pictures.attention),
    ("inside", "Inside the network", pictures.inside),
    ("augmentation", "Augmentation", pictures.augmentation),
    ("layers", "Layers", figures.layers),
    ("precisions", "Precision and speed", figures.precisions),
    ("card", "Model card", figures.card),
)


def write_report(content: ReportContent, path: Path) -> None:
    """Write the report on *content* to *path*, atomically.

    Photos that cannot be read are shown as a box that says so.

    Raises:
        InvalidRequestError: the classifier is not a flat functional model.
        OSError: the file cannot be written.
    """
    write_atomically(path, render_report(content))


def render_report(content: ReportContent) -> str:
    """The report as HTML; sections whose input is missing are left out.

    Raises:
        InvalidRequestError: the classifier is not a flat functional model.
    """
    made = [_Section(anchor, title, make(content)) for anchor, title, make in _SECTIONS]
    return (
        _templates()
        .get_template("report.html")
        .render(
            title=content.title,
            note=content.note,
            sections=[section for section in made if section.data is not None],
        )
    )


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("export.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        svg=draw_chart,
        legend=legend,
        percent=figures.percent,
        loss=figures.loss,
        thousands=figures.count,
        plural=figures.plural,
    )
    return environment
