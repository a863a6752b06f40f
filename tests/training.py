"""Training on generated photos: dark cats, bright dogs, and some in between."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from models.networks.runtime import start_tensorflow
from tests.pictures import encoded

if TYPE_CHECKING:
    from export.recipes.catalogue import Recipe
    from export.training.plans import TrainingPlan
    from export.training.runs import TrainedRun


def small_recipe() -> Recipe:
    from export.recipes.catalogue import Recipe, Stage
    from models.networks.network import Head

    return Recipe(
        "small",
        source="a test",
        head=Head("pooled", taps=("block1_pool",), dropout=0.5),
        image_size=(32, 32),
        batch_size=8,
        stages=(Stage("head", epochs=25, patience=25, learning_rate=1e-2),),
    )


def write_class_folders(folder: Path, each: int = 30) -> None:
    generator = np.random.default_rng(0)
    for label, level in (("cat", 70), ("dog", 180)):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            noise = generator.integers(-60, 60, (40, 50, 3))
            pixels = (level + noise).clip(0, 255).astype(np.uint8)
            image = encoded(Image.fromarray(pixels), "JPEG", quality=90)
            (folder / label / f"{number}.jpg").write_bytes(image)


def small_plan(home: Path, name: str = "pets", run: str = "small") -> TrainingPlan:
    """A plan for photos in *home*/photos, to become *home*/runs/train/*run*."""
    start_tensorflow()
    from export.data.splits import list_photos, split_photos
    from export.training.plans import TrainingPlan

    if not (home / "photos").exists():
        write_class_folders(home / "photos")
    split = split_photos(home / "photos", list_photos(home / "photos"), 0.25, seed=1)
    return TrainingPlan(
        name=name,
        split=split,
        recipe=small_recipe(),
        folder=home / "runs" / "train" / run,
        cache=home / "cache",
        seed=1,
        weights="none",
        precision="float32",
    )


def train_small(home: Path, name: str = "pets") -> TrainedRun:
    """A finished run under *home*/runs/train/small, of photos in *home*/photos."""
    return train_plan(small_plan(home, name))


def train_plan(plan: TrainingPlan) -> TrainedRun:
    """A finished run of *plan*."""
    from export.progress import silent
    from export.training.train import train

    plan.write()
    return train(plan, silent)
