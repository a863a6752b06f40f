"""The demo's model: trained on its photos, then published."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kennel.demo.photos import SEED, DemoPhotos
from kennel.demo.stages import Stages
from kennel.settings import KennelSettings
from models.contract import ModelCard

if TYPE_CHECKING:
    from export.training.runs import TrainedRun

MODEL: Final = "solar"
VALID_SHARE: Final = 0.2


def train_model(
    photos: DemoPhotos, settings: KennelSettings, stages: Stages
) -> TrainedRun:
    """A head on VGG16's features, trained on *photos*.

    Raises:
        KennelError: the training failed.
    """
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    from export.data.splits import find_split
    from export.recipes.catalogue import POOLED
    from export.training.plans import TrainingPlan
    from export.training.train import train

    name = f"{MODEL}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with stages.stage("train", "Train a head on VGG16's features") as progress:
        plan = TrainingPlan(
            name=MODEL,
            split=find_split(photos.train, VALID_SHARE, SEED),
            recipe=POOLED,
            folder=settings.runs_dir / "train" / name,
            cache=settings.cache_dir,
            seed=SEED,
        )
        plan.write()
        run = train(plan, progress)
    _tell(run, stages)
    return run


def publish_model(
    run: TrainedRun, settings: KennelSettings, stages: Stages
) -> ModelCard:
    """The card of the version that *run* was published as.

    Raises:
        KennelError: the export failed.
    """
    from export.publication.publish import publish

    with stages.stage("export", "Export and publish the SavedModel"):
        card = publish(run, settings.models_dir)
    stages.say(f"  {card.name} version {card.version}, clip bound {card.clip_bound}")
    return card


def _tell(run: TrainedRun, stages: Stages) -> None:
    metrics = run.metrics
    stages.say(f"  Weights: {run.weights['source']}. {run.weights['note']}.")
    stages.say(
        f"  {metrics['images']} validation photos: accuracy "
        f"{metrics['accuracy']:.3f}, log loss {metrics['log_loss_raw']:.3f} raw, "
        f"{metrics['log_loss_calibrated']:.3f} calibrated "
        f"(temperature {run.calibration.temperature:.2f})"
    )
