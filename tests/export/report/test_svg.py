"""SVG: round axes, and shapes with names."""

from __future__ import annotations

import pytest

from export.report.svg import (
    Bars,
    Chart,
    Divider,
    Line,
    Marks,
    Shape,
    axis_over,
    draw_chart,
    epoch_axis,
    legend,
    round_step,
    share_axis,
)


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

    markup = draw_chart(chart)

    assert 'aria-label="a &lt;chart&gt;"' in markup
    assert 'class="dot two"' in markup
    assert "stage 2</text>" in markup
    assert [name for _, name in legend([chart])] == ["curve", "point", "counts", "best"]
