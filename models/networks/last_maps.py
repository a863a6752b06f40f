"""What networks see of a photo last: cut at their last maps, the rest follows apart.

Without the cut, gradients would flow back through the whole network wherever its head
also looks at maps further down: 7 s instead of milliseconds for six photos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from models.errors import InvalidRequestError
from models.networks.freezing import CutNetwork
from models.networks.maps import find_last_maps
from models.networks.views import flip

Step: TypeAlias = Callable[[list[Any]], list[Any]]
"""Some layers of a network: tensors in, tensors out."""


@dataclass(frozen=True)
class Look:
    """What one network saw in one view of a batch.

    ``seen`` holds the last maps first, then all else that ``head`` makes logits of.
    """

    view: str
    seen: list[Any]
    head: Step

    def logits(self) -> Any:
        """Logits [N, K], float32."""
        return tf.cast(self.head(self.seen)[0], tf.float32)


@dataclass(frozen=True)
class CutEnsemble:
    """Networks cut at their last maps.

    Attributes:
        trunk: pixels -> what all members share, computed once a view.
        branches: for each member: shared -> what its head sees, and that -> logits.
    """

    views: tuple[str, ...]
    trunk: Step
    branches: tuple[tuple[Step, Step], ...]

    def look(self, pixels: Any) -> list[Look]:
        """What each member sees in each view of *pixels*, float32 [N, H, W, 3]."""
        looks = []
        for view in self.views:
            shared = self.trunk([flip(pixels, view)])
            looks += [Look(view, see(shared), head) for see, head in self.branches]
        return looks


def cut_at_last_maps(
    views: Sequence[str], members: Sequence[CutNetwork]
) -> CutEnsemble:
    """Flat *members* that are averaged over *views* and share their frozen part.

    Raises:
        InvalidRequestError: they have no spatial maps, or are not flat.
    """
    first = members[0]
    maps = find_last_maps(first.whole)
    if first.frozen is None:
        branches = [
            _split(each.whole, each.whole.inputs, maps.name) for each in members
        ]
        return CutEnsemble(tuple(views), list, tuple(branches))
    if maps.name in {each.name for each in first.frozen.operations}:
        see, rest = _split(first.frozen, first.frozen.inputs, maps.name)
        heads = [_after(rest, partial(_run, each.trained)) for each in members]
        return CutEnsemble(tuple(views), see, tuple((list, head) for head in heads))
    branches = [_split(each.whole, each.frozen.outputs, maps.name) for each in members]
    return CutEnsemble(tuple(views), partial(_run, first.frozen), tuple(branches))


def _split(model: Any, sources: Sequence[Any], layer: str) -> tuple[Step, Step]:
    """*sources* -> the *layer*'s maps and all else that is needed after them; the rest."""
    maps = model.get_layer(layer).output
    needed = [maps, *_beside(model, maps)]
    return _step(sources, needed), _step(needed, model.outputs)


def _step(sources: Sequence[Any], results: Sequence[Any]) -> Step:
    # Keras wants an operation on every way, also where a result is a source.
    given = {id(each) for each in sources}
    made = [
        keras.layers.Identity(dtype=each.dtype)(each) if id(each) in given else each
        for each in results
    ]
    return partial(_run, keras.Model(list(sources), made))


def _beside(model: Any, maps: Any) -> Iterator[Any]:
    after = {id(maps)}
    beside: dict[int, Any] = {}
    for operation in model.operations:
        inputs = keras.tree.flatten(operation.input)
        if any(id(tensor) in after for tensor in inputs):
            beside |= {id(each): each for each in inputs if id(each) not in after}
            after |= {id(each) for each in keras.tree.flatten(operation.output)}
    if not any(id(each) in after for each in model.outputs):
        message = (
            f"network {model.name!r} is not flat: give one that holds no other model "
            f"and whose layers are used in it alone"
        )
        raise InvalidRequestError(message)
    beside |= {id(each): each for each in model.outputs if id(each) not in after}
    yield from beside.values()


def _run(model: Any, tensors: list[Any]) -> list[Any]:
    inputs = keras.tree.pack_sequence_as(model.input, tensors)
    return list(keras.tree.flatten(model(inputs, training=False)))


def _after(first: Step, second: Step) -> Step:
    return lambda tensors: second(first(tensors))
