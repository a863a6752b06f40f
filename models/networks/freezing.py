"""Freezing: the layers that a stage trains, and a network cut into frozen and trained part.

The frozen part runs in inference mode, in training too: no dropout, and batch
normalisation by its moving statistics. It always gives the same output for the same
pixels, so that output can be computed once and kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import keras

from models.errors import InvalidRequestError
from models.networks.heads import AssembledNetwork

_LOGITS: Final = "logits"
"""The name of every network's last layer."""


@dataclass(frozen=True)
class CutNetwork:
    """One network in two models that share its layers.

    ``frozen``: pixels -> one or more tensors; ``trained``: those -> logits. ``frozen``
    is None when no layer with weights is frozen; then ``trained`` takes pixels.
    ``whole`` is the network that was cut. ``quantized`` computes what ``frozen`` does, in
    eight bits, and is served in its place.
    """

    frozen: Any
    trained: Any
    whole: Any
    quantized: Any = None

    @property
    def served(self) -> Any:
        """The frozen part as it is served: in eight bits where there is such a one."""
        return self.frozen if self.quantized is None else self.quantized

    def up_to(self, tensor: Any) -> Any:
        """A model of ``trained``'s first layers: its inputs -> a *tensor* of ``whole``."""
        inputs = self.whole.inputs if self.frozen is None else self.frozen.outputs
        # Keras wants an operation in every model, also where the tensor is an input.
        return keras.Model(inputs, keras.layers.Identity()(tensor))


@keras.saving.register_keras_serializable("kennel")
class FrozenModel(keras.Model):  # type: ignore[misc]
    """A functional model that always runs in inference mode, in training too."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """The outputs for *inputs*; *training* is ignored."""
        del training
        return super().call(inputs, training=False, mask=mask)


def trained_layers(assembled: AssembledNetwork, trains: str) -> frozenset[str]:
    """Names of the layers that *trains* stands for.

    "last": the logits; "head": all layers after the base; "conv:NAME": the base from its
    first layer whose name starts with NAME, and the head; "all": everything.

    Raises:
        InvalidRequestError: *trains* is none of these, or there is no such layer.
    """
    everything = [layer.name for layer in assembled.model.layers]
    head = [name for name in everything if name not in assembled.base]
    chosen: Mapping[str, Callable[[], list[str]]] = {
        "last": lambda: [_LOGITS],
        "head": lambda: head,
        "all": lambda: everything,
    }
    if trains in chosen:
        return frozenset(chosen[trains]())
    if not trains.startswith("conv:"):
        message = f"cannot train {trains!r}: use last, head, conv:<layer> or all"
        raise InvalidRequestError(message)
    prefix = trains.removeprefix("conv:")
    starts = [n for n, name in enumerate(assembled.base) if name.startswith(prefix)]
    if not starts or not prefix:
        known = ", ".join(assembled.base)
        raise InvalidRequestError(f"no layer starts with {prefix!r}; there are {known}")
    return frozenset([*assembled.base[starts[0] :], *head])


def freeze_all_but(model: Any, trained: frozenset[str]) -> None:
    """Set every layer's ``trainable``; the model must be compiled after this."""
    for layer in model.layers:
        layer.trainable = layer.name in trained


def cut(model: Any, trained: frozenset[str]) -> CutNetwork:
    """Cut *model* into the part that stays constant while the layers *trained* train, and the rest.

    A layer with weights is frozen if it is not trained and no trained layer feeds it. All
    layers that feed a frozen one are frozen too, dropout included; dropout between the last
    frozen weights and the trained layers is not frozen.
    """
    parents = {name: set(found) for name, found in _parents(model)}
    operations = {each.name: each for each in model.operations}
    steady: set[str] = set()
    for name, each in operations.items():
        changes = name in trained and _has_weights(each)
        if not changes and parents[name] <= steady:
            steady.add(name)
    frozen = {name for name in steady if _has_weights(operations[name])}
    if not frozen:
        return CutNetwork(None, model, model)
    for name in reversed(operations):
        if name in frozen:
            frozen |= parents[name]
    for name, each in operations.items():
        if name in steady and not _is_random(each) and parents[name] <= frozen:
            frozen.add(name)
    needed = {
        parent
        for name, found in parents.items()
        if name not in frozen
        for parent in found & frozen
    }
    tensors = [each.output for name, each in operations.items() if name in needed]
    return CutNetwork(
        FrozenModel(model.input, tensors, name="frozen"),
        keras.Model(tensors, model.output, name="trained"),
        model,
    )


def _has_weights(operation: Any) -> bool:
    return bool(getattr(operation, "weights", ()))


def _is_random(operation: Any) -> bool:
    return getattr(operation, "seed_generator", None) is not None


def _parents(model: Any) -> Iterator[tuple[str, list[str]]]:
    for entry in model.get_config()["layers"]:
        yield entry["name"], list(_tensor_origins(entry["inbound_nodes"]))


def _tensor_origins(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            yield value["config"]["keras_history"][0]
            return
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _tensor_origins(each)
