"""`python -m benchmarks.load URL --clients 32`: posts, then prints a `LoadResult`."""

from __future__ import annotations

import click

from benchmarks.load.arrivals import random_arrivals, steady_arrivals
from benchmarks.load.loop import Loop
from benchmarks.load.request import photo_request


@click.command()
@click.argument("url")
@click.option("--clients", default=1, help="Clients that post without a pause.")
@click.option("--rate", type=float, help="Or: requests a second, at fixed times.")
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--independent", is_flag=True, help="At random times of that rate.")
@click.option("--form", is_flag=True, help="A multipart form instead of a raw body.")
def main(
    url: str,
    clients: int,
    rate: float | None,
    seconds: float,
    independent: bool,
    form: bool,
) -> None:
    address, request = photo_request(url, form=form)
    loop = Loop(address, request)
    if rate is None:
        result = loop.run_clients(clients, seconds)
    else:
        arrivals = random_arrivals if independent else steady_arrivals
        result = loop.run_at(arrivals(rate, seconds), seconds)
    click.echo(result.to_json())


if __name__ == "__main__":
    main()
