"""The command that lists the networks."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from models.networks.registry import NetworkDescription


@click.command(
    epilog="Examples: kennel networks; kennel networks resnet50 --classes 2; "
    "kennel networks lenet5 --json"
)
@click.argument("name", required=False)
@click.option(
    "--classes",
    type=click.IntRange(min=2),
    help="Labels that NAME tells apart; default: as in its source.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def networks(name: str | None, classes: int | None, as_json: bool) -> None:
    """List the networks that can be trained, or the layers of the one called NAME."""
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    if name is None:
        _print_list(_list_networks(), as_json)
        return
    from models.networks.registry import USUAL_CLASSES, describe_network, find_network

    network = find_network(name)
    described = describe_network(network, classes or USUAL_CLASSES.get(name, 1000))
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(described)))
        return
    _print_layers(described)


def _list_networks() -> list[dict[str, Any]]:
    from models.networks.registry import PARAMETERS, find_network, network_names

    return [
        {
            "name": network.name,
            "image_size": list(network.image_size),
            "smallest_image": network.smallest_image,
            "parameters": PARAMETERS.get(network.name),
            "source": network.source,
        }
        for network in map(find_network, network_names())
    ]


def _print_list(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows))
        return
    click.echo(f"{'name':<20}{'input':<12}{'parameters':>12}  source")
    for row in rows:
        size = " x ".join(str(side) for side in row["image_size"])
        count = f"{row['parameters']:,}" if row["parameters"] else "-"
        click.echo(f"{row['name']:<20}{size:<12}{count:>12}  {row['source']}")
    click.echo("Layers and parameters of one: kennel networks NAME")


def _print_layers(network: NetworkDescription) -> None:
    height, width = network.image_size
    click.echo(f"{network.name}: {network.source}")
    click.echo(f"{height} x {width} RGB pixels, {network.classes} classes\n")
    longest = max(len(layer.name) for layer in network.layers) + 2
    for layer in network.layers:
        shape = " x ".join(str(side) for side in layer.shape)
        click.echo(
            f"{layer.name:<{longest}}{layer.kind:<26}{shape:<18}{layer.parameters:>12,}"
        )
    click.echo(f"\n{network.parameters:,} parameters")
