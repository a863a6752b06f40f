"""When a stage has learnt enough."""

from __future__ import annotations

from collections.abc import Sequence

from export.recipes.recipe import Stage
from export.stages.history import Epoch


def is_over(stage: Stage, epochs: Sequence[Epoch], best_epoch: int) -> bool:
    """Whether *stage* ends after *epochs*, of which *best_epoch* (0: none) was best.

    Patience looks at the loss, not at accuracy: overconfidence grows while accuracy
    stays flat.
    """
    done, enough = len(epochs), stage.enough_accuracy
    if done and enough is not None and epochs[-1].val_accuracy >= enough:
        return True
    return done >= stage.epochs or done - best_epoch >= stage.patience
