"""The HTML report: one file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export.report.content import ReportContent
from export.report.drawing.markup import Markup, join, paragraph, text
from export.report.drawing.stylesheet import STYLESHEET
from export.report.sections.attention import attention_section
from export.report.sections.augmentation import augmentation_section
from export.report.sections.card import card_section
from export.report.sections.classes import classes_section
from export.report.sections.clipping import clipping_section
from export.report.sections.confusion import confusion_section
from export.report.sections.diagnosis import diagnosis_section
from export.report.sections.headline import headline_section
from export.report.sections.inside import inside_section
from export.report.sections.layers import layers_section
from export.report.sections.photos import photos_section
from export.report.sections.reliability import reliability_section
from export.report.sections.training_curves import training_curves_section
from export.report.sections.training_data import training_data_section
from models.files import write_atomically


@dataclass(frozen=True)
class _Section:
    anchor: str
    title: str
    body: Markup


_SECTIONS: Final[Sequence[tuple[str, str, Callable[[ReportContent], Markup]]]] = (
    ("figures", "Headline figures", headline_section),
    ("data", "Training data", training_data_section),
    ("curves", "Training curves", training_curves_section),
    ("diagnosis", "Diagnosis", diagnosis_section),
    ("confusion", "Confusion matrix", confusion_section),
    ("labels", "Figures by label", classes_section),
    ("reliability", "Reliability", reliability_section),
    ("clipping", "Log loss against the clip bound", clipping_section),
    ("photos", "Photos", photos_section),
    ("attention", "Where the network looks", attention_section),
    ("inside", "Inside the network", inside_section),
    ("augmentation", "Augmentation", augmentation_section),
    ("layers", "Layers", layers_section),
    ("card", "Model card", card_section),
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
    sections = [section for section in made if section.body]
    note = paragraph(content.note) if content.note else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(content.title)}</title><style>{STYLESHEET}</style></head>\n"
        '<body><a class="skip" href="#content">Skip to the content</a>'
        f"<header><h1>{text(content.title)}</h1>{note}</header>"
        f"{_table_of_contents(sections)}\n"
        f'<main id="content">{join(_show(section) for section in sections)}</main>'
        "</body></html>\n"
    )


def _table_of_contents(sections: Sequence[_Section]) -> Markup:
    entries = join(
        Markup(f'<li><a href="#{each.anchor}">{text(each.title)}</a></li>')
        for each in sections
    )
    return Markup(f'<nav aria-label="Contents"><ol>{entries}</ol></nav>')


def _show(section: _Section) -> Markup:
    title = f'<h2 id="{section.anchor}-title">{text(section.title)}</h2>'
    return Markup(
        f'\n<section id="{section.anchor}" aria-labelledby="{section.anchor}-title">'
        f"{title}{section.body}</section>"
    )
