"""A trained run put together again: pixels -> logits, in Keras.

Members and views are averaged in probability. The average's logarithm stands in for
logits, so that temperature and clipping apply to it as to a single model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from export.training.assembly import assemble_recipe, ever_trained
from export.training.members import read_member
from export.training.runs import TrainedRun
from models.errors import DatasetError
from models.images.codec import Pixels
from models.networks.freezing import CutNetwork, cut
from models.networks.heads import AssembledNetwork
from models.networks.network import flip


def build_member(
    run: TrainedRun, number: int, policy: str = "float32"
) -> AssembledNetwork:
    """Member *number* (from 1) of *run*, with its trained weights.

    Raises:
        DatasetError: its weights are damaged.
    """
    network = assemble_recipe(run.recipe, len(run.split.labels), policy)
    member = read_member(run.folder, number)
    if member is None:
        raise DatasetError(f"{run.folder} has no member {number}: train again")
    network.model.set_weights(list(member.weights))
    return network


@dataclass(frozen=True)
class Ensemble:
    """Networks whose probabilities are averaged over views; the frozen part is shared."""

    members: tuple[CutNetwork, ...]
    views: tuple[str, ...] = ("none",)

    @property
    def is_single(self) -> bool:
        """Whether there is nothing to average."""
        return len(self.members) == 1 and self.views == ("none",)

    def average(self, logits: Sequence[Any]) -> Any:
        """The logits of the whole from those of each member for each view."""
        return logits[0] if self.is_single else mean_logits(logits)

    def join(self) -> Any:
        """One Keras model: pixels 0..255 [N, H, W, 3] -> logits [N, K]."""
        first = self.members[0]
        if self.is_single:
            return first.whole
        pixels = keras.Input(first.whole.input.shape[1:], name="pixels")
        seen = [flip(pixels, view) for view in self.views]
        inputs = [first.frozen(each) for each in seen] if first.frozen else seen
        # Models inside a model need names of their own.
        rest = [
            keras.Model(
                each.trained.inputs, each.trained.outputs[0], name=f"member{number}"
            )
            for number, each in enumerate(self.members, start=1)
        ]
        logits = [member(values) for member in rest for values in inputs]
        return keras.Model(pixels, mean_logits(logits), name="classifier")


def single(model: Any) -> Ensemble:
    """The ensemble of one flat Keras *model*."""
    return Ensemble((CutNetwork(None, model, model),))


def build_ensemble(run: TrainedRun, policy: str = "float32") -> Ensemble:
    """The members of *run*.

    Raises:
        DatasetError: weights are damaged.
    """
    members = [
        build_member(run, number, policy) for number in range(1, run.recipe.members + 1)
    ]
    stages = run.recipe.stages
    cuts = [cut(member.model, ever_trained(stages, member)) for member in members]
    return Ensemble(tuple(cuts), run.recipe.views)


def build_classifier(run: TrainedRun, policy: str = "float32") -> Any:
    """The whole of *run*: pixels 0..255 [N, H, W, 3] -> logits [N, K].

    The part that no member trained is there once.

    Raises:
        DatasetError: weights are damaged.
    """
    return build_ensemble(run, policy).join()


def mean_logits(logits: Sequence[Any]) -> Any:
    """log of the mean of softmax(each), [N, K]: arrays or tensors."""
    logs = [keras.ops.log_softmax(each, axis=-1) for each in logits]
    stacked = keras.ops.stack(logs, axis=0)
    return keras.ops.logsumexp(stacked, axis=0) - float(np.log(len(logits)))


def classify(classifier: Any, batch: Pixels) -> NDArray[np.float32]:
    """Logits [N, K] of a *batch*, uint8 [N, H, W, 3]."""
    pixels = batch.astype(np.float32)
    return np.asarray(classifier.predict_on_batch(pixels), dtype=np.float32)
