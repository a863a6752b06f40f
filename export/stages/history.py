"""What happened in each epoch: the curves of the report, the history of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """One pass over the training photos, and the validation after it.

    Attributes:
        member: number of the ensemble's member, from 1.
        stage: number of the recipe's stage, from 1.
        number: epoch within the stage, from 1.
        loss: mean training loss of the epoch, dropout and augmentation included.
        accuracy: share of training photos right in the epoch, likewise.
    """

    member: int
    stage: int
    number: int
    learning_rate: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
