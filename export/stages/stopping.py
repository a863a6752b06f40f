"""When a stage has learnt enough."""

from __future__ import annotations

from collections.abc import Sequence

from export.recipes.catalogue import Stage
from export.stages.history import Epoch


def is_over(stage: Stage, epochs: Sequence[Epoch], best_epoch: int) -> bool:
    """Whether *stage* ends after *epochs*, of which *best_epoch* (0: none) was best.

    Patience looks at the loss, not at accuracy: overconfidence grows while accuracy
    stays flat.
    """
    return bool(why_over(stage, epochs, best_epoch))


def why_over(stage: Stage, epochs: Sequence[Epoch], best_epoch: int) -> str:
    """Why *stage* ends after *epochs*, for people; "" where it goes on."""
    done, enough = len(epochs), stage.enough_accuracy
    if done and enough is not None and epochs[-1].val_accuracy >= enough:
        return f"validation accuracy reached {enough:g}"
    if done >= stage.epochs:
        return f"--epochs {stage.epochs} reached"
    if done - best_epoch >= stage.patience:
        return f"--patience {stage.patience}: no better validation loss"
    return ""
