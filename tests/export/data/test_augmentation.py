"""Augmentation: exact where it can be, and the same for a photo in every batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from export.data.augmentation import (
    AUGMENTATIONS,
    Augmentation,
    Draws,
    draw,
    parse_augmentation,
)
from models.errors import InvalidRequestError
from models.images.codec import Pixels
from models.networks.runtime import start_tensorflow

COLUMNS = {
    "rotation": 0,
    "width_shift": 1,
    "height_shift": 2,
    "zoom_width": 4,
    "zoom_height": 5,
    "horizontal_flip": 6,
    "vertical_flip": 7,
    "brightness": 8,
    "red": 9,
}


@pytest.fixture(scope="module")
def photos() -> Pixels:
    return np.random.default_rng(4).integers(0, 256, (5, 12, 16, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def augment() -> Callable[..., Pixels]:
    start_tensorflow()
    from export.data.augmentation import augment

    return augment


@pytest.fixture(scope="module")
def change() -> Callable[..., Pixels]:
    """Applies chosen draws (0 where none is named) instead of random ones."""
    start_tensorflow()
    from export.data.augmentation import apply_draws

    def apply(pixels: Pixels, augmentation: Augmentation, **draws: float) -> Pixels:
        rows = np.zeros((len(pixels), 12))
        for name, value in draws.items():
            rows[:, COLUMNS[name]] = value
        return apply_draws(pixels, augmentation, Draws(*rows.T))

    return apply


def test_table_has_shear_in_degrees() -> None:
    assert AUGMENTATIONS["statefarm"].shear == 5.73
    assert AUGMENTATIONS["demo"].shear == 8.59
    assert not AUGMENTATIONS["statefarm"].horizontal_flip


def test_text_is_a_name_and_what_differs() -> None:
    parsed = parse_augmentation("dogscats, rotation=20, fill=reflect")

    assert parsed == Augmentation(
        20, 0.1, 0.1, 0, 0.1, horizontal_flip=True, fill="reflect"
    )
    assert parse_augmentation("vertical_flip=true") == Augmentation(vertical_flip=True)
    assert repr(parse_augmentation("statefarm,rotation=15")) == repr(
        parse_augmentation("statefarm")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cats", "no augmentation 'cats': choose one of none, demo, dogscats"),
        ("", "no augmentation ''"),
        ("demo,spin=3", "'spin=3' is no option.*rotation"),
        ("demo,rotation", "'rotation' is no option"),
        ("rotation=much", "rotation='much' is not a number"),
        ("rotation=nan", "rotation=nan is not possible: use 0 to 180"),
        ("zoom=1", "zoom=1 is not possible"),
        ("width_shift=-0.1", "width_shift=-0.1 is not possible"),
        ("horizontal_flip=yes", "horizontal_flip='yes': write true or false"),
        ("fill=mirror", "no fill 'mirror': choose one of nearest, reflect"),
    ],
)
def test_impossible_text_is_refused_with_its_value(text: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        parse_augmentation(text)


def test_draws_are_even_and_differ_by_seed_round_and_photo() -> None:
    positions = np.arange(2000)
    first = draw(1, 1, positions)

    assert first.rotation.mean() == pytest.approx(0, abs=0.05)
    assert first.rotation.std() == pytest.approx(3**-0.5, abs=0.02)
    assert (first.horizontal_flip > 0).mean() == pytest.approx(0.5, abs=0.05)
    for other in (draw(2, 1, positions), draw(1, 2, positions)):
        assert abs(np.corrcoef(first.zoom_width, other.zoom_width)[0, 1]) < 0.1


@pytest.mark.tensorflow
class TestPixels:
    def test_no_augmentation_is_bit_exact(self, augment: Any, photos: Pixels) -> None:
        same = augment(photos, Augmentation(), 1, 1, np.arange(5))

        assert np.array_equal(same, photos)

    def test_zero_draws_are_bit_exact(self, change: Any, photos: Pixels) -> None:
        everything = AUGMENTATIONS["photos"]

        assert np.array_equal(change(photos, everything), photos)

    def test_flips_are_exact(self, change: Any, photos: Pixels) -> None:
        flips = AUGMENTATIONS["flips"]

        mirrored = change(photos, flips, horizontal_flip=1)
        upside_down = change(photos, flips, vertical_flip=1)

        assert np.array_equal(mirrored, photos[:, :, ::-1])
        assert np.array_equal(upside_down, photos[:, ::-1])
        assert np.array_equal(change(photos, Augmentation(), vertical_flip=1), photos)

    @pytest.mark.parametrize("fill", ["nearest", "reflect", "wrap", "constant"])
    def test_half_a_turn_is_both_flips(
        self, change: Any, photos: Pixels, fill: Any
    ) -> None:
        turned = change(photos, Augmentation(180, fill=fill), rotation=1)

        assert np.array_equal(turned, photos[:, ::-1, ::-1])

    def test_quarter_turn_of_a_square_is_exact(
        self, change: Any, photos: Pixels
    ) -> None:
        squares = photos[:, :, :12]

        turned = change(squares, Augmentation(90), rotation=1)

        assert np.array_equal(turned, np.rot90(squares, -1, axes=(1, 2)))

    def test_shift_by_whole_pixels_is_exact(self, change: Any, photos: Pixels) -> None:
        shift = Augmentation(
            width_shift=0.25, height_shift=0.25, fill="constant", fill_value=7
        )

        shifted = change(photos, shift, width_shift=1, height_shift=-1)

        assert np.array_equal(shifted[:, 3:, :-4], photos[:, :-3, 4:])
        assert (shifted[:, :3] == 7).all()
        assert (shifted[:, :, -4:] == 7).all()

    @pytest.mark.parametrize(
        ("fill", "edge"),
        [("nearest", [15, 15, 15]), ("reflect", [15, 14, 13]), ("wrap", [0, 1, 2])],
    )
    def test_fill_continues_the_photo(
        self, change: Any, photos: Pixels, fill: Any, edge: list[int]
    ) -> None:
        shift = Augmentation(width_shift=3 / 16, fill=fill)

        shifted = change(photos, shift, width_shift=1)

        assert np.array_equal(shifted[:, :, -3:], photos[:, :, edge])

    def test_rotation_comes_before_shift_and_flips_last(
        self, change: Any, photos: Pixels
    ) -> None:
        squares = photos[:, :, :12]
        every = Augmentation(90, width_shift=0.25, horizontal_flip=True)

        changed = change(squares, every, rotation=1, width_shift=1, horizontal_flip=1)

        turned = np.rot90(squares, -1, axes=(1, 2))
        shifted = turned[:, :, [3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 11, 11]]
        assert np.array_equal(changed, shifted[:, :, ::-1])

    def test_zoom_is_about_the_centre_and_linear(self, change: Any) -> None:
        ramp = np.tile(np.arange(0, 210, 10)[None, None, :, None], (1, 9, 1, 3))
        ramp = ramp.astype(np.uint8)

        closer = change(ramp, Augmentation(zoom=0.5), zoom_width=-1)

        assert closer[0, 0, :, 0].tolist() == list(range(50, 151, 5))

    def test_channels_shift_apart_within_the_photos_own_range(
        self, change: Any
    ) -> None:
        photos = np.full((1, 4, 4, 3), 100, np.uint8)
        photos[0, 0, 0] = (90, 90, 120)

        shifted = change(photos, Augmentation(channel_shift=50), red=1)

        assert shifted[0, 1, 1].tolist() == [120, 100, 100]
        assert shifted[0, 0, 0].tolist() == [120, 90, 120]

    def test_brightness_scales_and_stays_in_range(self, change: Any) -> None:
        photos = np.tile(np.array([0, 100, 240], np.uint8), (1, 2, 2, 1))

        brighter = change(photos, Augmentation(brightness=0.2), brightness=1)

        assert brighter[0, 0, 0].tolist() == [0, 120, 255]

    def test_photo_is_the_same_in_every_batch_and_order(
        self, augment: Any, photos: Pixels
    ) -> None:
        many, rows = np.tile(photos, (8, 1, 1, 1)), np.arange(40)
        order = np.random.default_rng(0).permutation(40)
        options = AUGMENTATIONS["photos"]

        together = augment(many, options, 3, 2, rows)
        shuffled = augment(many[order], options, 3, 2, rows[order])
        alone = augment(many[39:], options, 3, 2, rows[39:])

        assert np.array_equal(together[order], shuffled)
        assert np.array_equal(together[39:], alone)
        assert not np.array_equal(together[:5], together[5:10])
        assert not np.array_equal(together, augment(many, options, 3, 3, rows))

    def test_preview_starts_with_the_original(self, photos: Pixels) -> None:
        from export.data.augmentation import preview_grid

        grid = preview_grid(photos, AUGMENTATIONS["demo"], seed=1, columns=4)

        assert grid.shape == (5, 4, 12, 16, 3)
        assert np.array_equal(grid[:, 0], photos)
        assert not np.array_equal(grid[:, 1], grid[:, 2])
