"""Report contents for tests: photos of one brightness, seeded answers."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np

from export.evaluation.metrics import ScoreInterval
from export.report.content import ReportContent, ReportedPhotos
from export.report.page import render_report
from export.training.checkpoints import Epoch
from export.training.diagnosis import Diagnosis
from models.probabilities import softmax
from tests.pictures import grey, noise

PHOTOS = 40


def some_photos(
    folder: Path, labels: tuple[str, ...] = ("cat", "dog")
) -> ReportedPhotos:
    """PHOTOS photos, most of them right; the first file is missing."""
    generator = np.random.default_rng(5)
    classes = generator.integers(0, len(labels), PHOTOS)
    logits = generator.normal(size=(PHOTOS, len(labels)))
    logits[np.arange(PHOTOS), classes] += 1.5
    files = [folder / f"{number}.png" for number in range(PHOTOS)]
    for number, file in enumerate(files[1:], start=1):
        file.write_bytes(grey(6 * number))
    return ReportedPhotos(labels, files, classes, softmax(logits, 1.3), 0.97, 1.3)


def noisy_photos(folder: Path, labels: int, side: int) -> ReportedPhotos:
    """Photos that JPEG can hardly compress: the largest report there can be."""
    photos = some_photos(folder, tuple(f"label {each}" for each in range(labels)))
    for number, file in enumerate(photos.files):
        file.write_bytes(noise(number, (side, side)))
    return photos


def some_epochs(members: int = 1) -> tuple[Epoch, ...]:
    """Two stages of three epochs each; in both the second is the best."""
    return tuple(
        Epoch(member, stage, number, 1e-3, 0.5, 0.8, 0.4 + 0.1 * abs(number - 2), 0.85)
        for member in range(1, members + 1)
        for stage in (1, 2)
        for number in (1, 2, 3)
    )


def full_content(folder: Path, classifier: Any = None) -> ReportContent:
    """A report's content with everything but, perhaps, the network."""
    card = {"name": "pets", "clip_bound": None, "training": {"seed": 3, "note": ""}}
    return ReportContent(
        title="pets & co",
        photos=some_photos(folder),
        note="Made in the test.",
        figures={"score of the CSV": "0.1234"},
        expected_score=ScoreInterval(0.4, 0.3, 0.5),
        epochs=some_epochs(),
        diagnosis=Diagnosis("overfit", "the gap is <wide>", ("more data", "rest")),
        counts={"train": {"cat": 1200, "dog": 8}, "valid": {"cat": 3}},
        card=card,
        augmentations=np.zeros((2, 8, 32, 32, 3), np.uint8),
        classifier=classifier,
    )


def content_of(rows: list[list[float]], classes: list[int]) -> ReportContent:
    labels = ["cat", "dog", "owl"][: len(rows[0])]
    files = [Path(f"{number}.jpg") for number in range(len(rows))]
    photos = ReportedPhotos(labels, files, np.array(classes), np.array(rows))
    return ReportContent("pets", photos)


def section(content: ReportContent, anchor: str) -> str:
    """The HTML of one section of the report."""
    page = render_report(content)
    return page.split(f'<section id="{anchor}"')[1].split("</section>")[0]


def words(markup: str) -> str:
    """What a person reads of *markup*."""
    plain = unescape(re.sub("<[^>]+>", " ", markup)).replace("\N{NO-BREAK SPACE}", " ")
    return " ".join(plain.split())
