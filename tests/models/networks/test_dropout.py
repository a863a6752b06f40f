"""Another rate of dropout: the same weights, the same answers."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import InvalidRequestError
from tests.models.networks.small import build_small_network, random_pixels

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.8])
def test_another_rate_answers_the_same_and_rescales_nothing(rate: float) -> None:
    from models.networks.dropout import with_dropout

    model = build_small_network()
    changed = with_dropout(model, rate)

    photos = random_pixels(4)
    assert changed.get_layer("fc1_dropout").rate == rate
    assert model.get_layer("fc1_dropout").rate == 0.5
    assert np.array_equal(
        changed.predict_on_batch(photos), model.predict_on_batch(photos)
    )
    for old, new in zip(model.get_weights(), changed.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_halved_weights_would_answer_otherwise() -> None:
    from models.networks.dropout import with_dropout

    model = build_small_network()
    halved = with_dropout(model, 0)
    halved.set_weights([weight / 2 for weight in model.get_weights()])

    photos = random_pixels(4)
    assert not np.allclose(
        halved.predict_on_batch(photos), model.predict_on_batch(photos), rtol=0.1
    )


def test_training_without_dropout_is_deterministic() -> None:
    from models.networks.dropout import with_dropout

    changed = with_dropout(build_small_network(), 0)

    photos = random_pixels(4)
    outputs = [np.asarray(changed(photos, training=True)) for _ in range(2)]
    assert np.array_equal(outputs[0], outputs[1])


def test_copy_does_not_share_weights() -> None:
    from models.networks.dropout import with_dropout

    model = build_small_network()
    before = model.get_weights()
    changed = with_dropout(model, 0)
    changed.set_weights([np.zeros_like(weight) for weight in before])

    assert np.array_equal(model.get_weights()[0], before[0])


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_impossible_rates_are_refused(rate: float) -> None:
    from models.networks.dropout import with_dropout

    with pytest.raises(InvalidRequestError, match="from 0 to below 1"):
        with_dropout(build_small_network(), rate)
