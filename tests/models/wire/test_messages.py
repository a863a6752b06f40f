"""Requests, answers, tensors: arrays survive the wire, broken contracts are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.errors import (
    ModelContractError,
)
from models.wire.messages import (
    Explanation,
    check_explanation,
    from_tensor,
    images_request,
    to_string_tensor,
    to_tensor,
)
from models.wire.protos import PredictRequest, TensorProto, types


@pytest.mark.parametrize(
    "dtype", ["uint8", "int32", "int64", "float32", "float64", "bool"]
)
def test_array_survives_the_wire(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)

    assert (from_tensor(to_tensor(array)) == array).all()


def test_strings_survive_the_wire() -> None:
    assert list(from_tensor(to_string_tensor([b"a", b"\xff"]))) == [b"a", b"\xff"]


def test_one_value_fills_the_shape() -> None:
    tensor = TensorProto(dtype=types.DT_FLOAT, float_val=[0.5])
    for size in (2, 3):
        tensor.tensor_shape.dim.add(size=size)

    assert (from_tensor(tensor) == np.full((2, 3), 0.5)).all()


def test_tensor_that_does_not_fill_its_shape_breaks_the_contract() -> None:
    tensor = to_tensor(np.zeros(4, np.float32))
    tensor.tensor_content = tensor.tensor_content[:-1]

    with pytest.raises(ModelContractError, match="holds 15 bytes"):
        from_tensor(tensor)


@pytest.mark.parametrize(("count", "side"), [(1, 1), (1, 224), (3, 32), (32, 7)])
@pytest.mark.parametrize(
    "spec",
    [
        {"name": "pets"},
        {"name": "pets", "version": {"value": 2**40}},
        {"name": "pets", "version_label": "canary"},
    ],
)
def test_request_made_by_hand_is_protobufs_byte_for_byte(
    spec: dict[str, Any], count: int, side: int
) -> None:
    spec["signature_name"] = "serving_default"
    batch = np.random.default_rng(count).integers(
        0, 256, (count, side, side + 1, 3), np.uint8
    )

    request = PredictRequest(model_spec=spec, inputs={"images": to_tensor(batch)})

    assert images_request(request.model_spec, batch) == request.SerializeToString()
    assert images_request(request.model_spec, list(batch[:, ::-1])) == images_request(
        request.model_spec, batch[:, ::-1].copy()
    )


@pytest.mark.parametrize(
    "change",
    [
        {"heatmaps": np.zeros((2, 4, 4), np.float32)},
        {"heatmaps": np.zeros((1, 4), np.float32)},
        {"heatmaps": np.full((1, 4, 4), np.nan, np.float32)},
        {"heatmaps": np.full((1, 4, 4), 2, np.float32)},
        {"classes": np.array([0], np.int32)},
    ],
    ids=["count", "rank", "nan", "range", "class"],
)
def test_explanation_of_something_else_breaks_the_contract(
    change: dict[str, Any],
) -> None:
    answer = Explanation(
        np.zeros((1, 4, 4), np.float32),
        np.array([[0.2, 0.8]], np.float32),
        np.zeros((1, 2), np.float32),
        np.array([1], np.int32),
        version=1,
    )
    check_explanation(answer, np.array([-1], np.int32))

    with pytest.raises(ModelContractError):
        check_explanation(replace(answer, **change), np.array([-1], np.int32))
