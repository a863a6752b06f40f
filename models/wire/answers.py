"""What a PredictResponse says, checked: nothing that breaks the contract goes further."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.contract import CARD_OUTPUT, LOGITS_OUTPUT, PROBABILITIES_OUTPUT
from models.errors import ModelContractError
from models.wire.model_ref import ModelRef
from models.wire.tensors import from_tensor


def read_output(response: Any, name: str) -> NDArray[Any]:
    """The output *name* of a PredictResponse.

    Raises:
        ModelContractError: it is not there or is no proper tensor.
    """
    if name not in response.outputs:
        present = ", ".join(sorted(response.outputs)) or "nothing"
        message = f"the answer lacks {name!r} (it holds {present}): export with kennel"
        raise ModelContractError(message)
    return from_tensor(response.outputs[name])


def read_rows(
    response: Any, count: int, model: object
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities and logits, [N, K] each, of *model* for *count* images.

    Raises:
        ModelContractError: another number of rows, or values that are no probabilities.
    """
    probabilities = read_output(response, PROBABILITIES_OUTPUT)
    logits = read_output(response, LOGITS_OUTPUT)
    if probabilities.ndim != 2 or len(probabilities) != count:
        message = f"{model} answered {probabilities.shape} for {count} images"
        raise ModelContractError(message)
    if probabilities.shape != logits.shape:
        message = f"{model}: logits {logits.shape}, probabilities {probabilities.shape}"
        raise ModelContractError(message)
    if not np.isfinite(probabilities).all():
        raise ModelContractError(f"{model} answered probabilities that are not finite")
    if probabilities.min() < 0 or probabilities.max() > 1 + 1e-6:
        raise ModelContractError(f"{model} answered values outside 0 to 1")
    return probabilities, logits


def read_card(response: Any, model: ModelRef) -> ModelCard:
    """What the version that answered for *model* says of itself.

    Raises:
        ModelContractError: it is no card.
    """
    text = read_output(response, CARD_OUTPUT)
    if text.shape != (1,):
        raise ModelContractError(f"{model} describes itself {text.shape} times")
    card = ModelCard.from_json(text[0])
    # The directory's number is the version; a copied SavedModel may say another.
    return replace(card, name=model.name, version=effective_version(response))


def effective_version(response: Any) -> int:
    """The version that answered."""
    return int(response.model_spec.version.value)
