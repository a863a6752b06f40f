"""Axes, charts and colours."""

from __future__ import annotations

import numpy as np
import pytest

from export.report.charts import (
    Bars,
    Chart,
    Divider,
    Line,
    Marks,
    Shape,
    axis_over,
    chart_figure,
    draw_chart,
    epoch_axis,
    round_step,
    share_axis,
)
from export.report.drawing.colours import (
    enlarge,
    heat_colours,
    overlay_heat,
    shrink,
    signed_colours,
    stretch,
)
from export.report.drawing.markup import join, table


@pytest.mark.parametrize(
    ("rough", "step"), [(0.03, 0.05), (1, 1), (1.2, 2), (0.1, 0.1), (60, 100)]
)
def test_steps_are_round(rough: float, step: float) -> None:
    assert round_step(rough) == pytest.approx(step)


def test_axis_starts_and_ends_at_round_numbers() -> None:
    axis = axis_over("loss", [0.31, 0.87, float("nan")])

    assert (axis.low, axis.high) == pytest.approx((0.2, 1.0))
    assert [written for _, written in axis.ticks] == ["0.2", "0.4", "0.6", "0.8", "1.0"]


def test_axis_over_one_value_or_none_has_a_range() -> None:
    assert axis_over("loss", [0.5, 0.5]).low < 0.5 < axis_over("loss", [0.5]).high
    assert axis_over("loss", []).high > axis_over("loss", []).low


@pytest.mark.parametrize("epochs", [1, 2, 7, 31, 400])
def test_epochs_are_whole_numbers_from_one(epochs: int) -> None:
    ticks = epoch_axis(epochs).ticks

    assert ticks[0] == (1, "1")
    assert all(number == int(number) <= epochs for number, _ in ticks)
    assert len(ticks) <= 9


def test_chart_places_points_within_its_axes() -> None:
    chart = Chart("none", share_axis("x"), share_axis("y"), [])

    left, bottom = chart.place(0, 0)
    right, top = chart.place(1, 1)
    assert 0 < left < right < 360
    assert 0 < top < bottom < chart.height


def test_shapes_are_drawn_and_named_in_the_legend() -> None:
    shapes: list[Shape] = [
        Line("curve", [(0, 0), (1, 1)]),
        Line("point", [(0.5, 0.5)], "two"),
        Bars("counts", [(0, 0.2, 0.7)]),
        Marks("best", [(0.1, 0.1)]),
        Divider(0.5, "stage 2"),
    ]
    chart = Chart("a <chart>", share_axis("x"), share_axis("y"), shapes)

    markup = chart_figure("Title", [chart], join([]))

    assert 'aria-label="a &lt;chart&gt;"' in markup
    assert all(f" {name}</li>" in markup for name in ("curve", "counts", "best"))
    assert 'class="dot two"' in markup
    assert "stage 2</text>" in draw_chart(chart)


def test_columns_of_numbers_align_right_and_words_left() -> None:
    markup = table("all", ["who", "count", "kind"], [["a", "1,200", "Conv2D"]])

    assert "<td>1,200</td>" in markup
    assert '<td class="words">Conv2D</td>' in markup


def test_heat_grows_lighter_from_cold_to_hot() -> None:
    lightness = heat_colours(np.linspace(0, 1, 50)) @ [0.299, 0.587, 0.114]

    assert (np.diff(lightness) > 0).all()


def test_photo_shows_through_where_it_is_cold() -> None:
    pixels = np.full((8, 8, 3), 90, np.uint8)

    warm = overlay_heat(pixels, np.array([[0.0, 1.0]]))

    assert (warm[:, 0] == 90).all()
    assert (warm[:, -1] != 90).any()
    assert (overlay_heat(pixels, np.zeros((2, 2))) == 90).all()


def test_maps_keep_their_means_when_resized() -> None:
    values = np.arange(16.0).reshape(4, 4)

    assert shrink(values, 2).tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert shrink(values, 8).tolist() == values.tolist()
    assert enlarge(values, (8, 8)).mean() == pytest.approx(values.mean())
    assert enlarge(values, (4, 4)) == pytest.approx(values)


def test_flat_maps_are_dark_and_zero_is_grey() -> None:
    assert (stretch(np.full((2, 2), 7.0)) == 0).all()
    assert stretch(np.array([1.0, 3.0])).tolist() == [0, 1]
    assert signed_colours(np.array([-2.0, 0.0, 1.0])).tolist() == [0, 128, 191]
