"""The layers of the network and their parameters."""

from __future__ import annotations

from export.report.content import ReportContent
from export.report.drawing.markup import Markup, fold, paragraph, table
from export.report.drawing.numbers import count, plural


def layers_section(content: ReportContent) -> Markup:
    """Name, type, output shape, parameters and how many of them were trained."""
    if content.classifier is None:
        return Markup("")
    from export.report.network import list_layers

    layers = list_layers(content.classifier)
    total = sum(layer.parameters for layer in layers)
    trained = sum(layer.trained for layer in layers)
    rows = [
        [
            layer.name,
            layer.kind,
            " x ".join(str(side or "any") for side in layer.output_shape),
            count(layer.parameters),
            count(layer.trained),
        ]
        for layer in layers
    ]
    foot = ["all", "", "", count(total), count(trained)]
    head = ["layer", "type", "output", "parameters", "trained"]
    shown = table("Layers, from the pixels on", head, rows, [foot])
    summary = (
        f"{plural(len(layers), 'layer')}, {plural(total, 'parameter')}: "
        f"{count(trained)} trained, {count(total - trained)} not. Output is "
        "height x width x channels, without the batch."
    )
    return Markup(
        paragraph(summary)
        + fold(f"All {plural(len(layers), 'layer')}", shown, len(layers))
    )
