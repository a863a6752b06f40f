"""A rollout and its comparison as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


def render_rollout(rollout: Mapping[str, Any]) -> str:
    """What GET /v1/models/NAME/rollout says, in a screen of lines."""
    head = (
        f"{rollout['model']}: version {rollout['canary']} beside {rollout['stable']}, "
        f"{rollout['state']}, {rollout['percent']:g} % of requests "
        f"(since {rollout['started']})"
    )
    comparison = rollout.get("comparison")
    if comparison is None:
        return f"{head}\nNo comparison: {rollout.get('missing')}"
    return "\n".join([head, *_table(rollout, comparison), *_sentences(comparison)])


def _table(rollout: Mapping[str, Any], comparison: Mapping[str, Any]) -> Iterator[str]:
    stable, canary = comparison["stable"], comparison["canary"]
    rows = [
        ("", f"stable {rollout['stable']}", f"canary {rollout['canary']}"),
        *(
            (name, f"{stable[key]:,}", f"{canary[key]:,}")
            for key, name in (
                ("requests", "requests"),
                ("errors", "errors"),
                ("images", "images"),
            )
        ),
        ("p50", _milliseconds(stable["p50_ms"]), _milliseconds(canary["p50_ms"])),
        ("p99", _milliseconds(stable["p99_ms"]), _milliseconds(canary["p99_ms"])),
        ("scores", _sparks(stable["scores"]), _sparks(canary["scores"])),
        *(
            (label, _share(stable, label), _share(canary, label))
            for label in {**stable["labels"], **canary["labels"]}
        ),
    ]
    width = max(len(name) for name, _, _ in rows)
    for name, one, other in rows:
        yield f"  {name:<{width}}  {one:>20}  {other:>20}"


def _sentences(comparison: Mapping[str, Any]) -> Iterator[str]:
    for what in ("scores", "labels"):
        apart = comparison[what]
        if apart["bits"] is not None:
            yield (
                f"  {what} are {apart['bits']:.4f} bits apart (Jensen-Shannon; by chance "
                f"{apart['by_chance']:.4f})"
            )
    agreement = comparison["agreement"]
    if agreement["images"]:
        yield (
            f"  of {agreement['images']:,} images asked of both, "
            f"{100 * agreement['same_label']:.1f} % got the same label; probabilities "
            f"differ by {agreement['mean_difference']:.4f} on average"
        )
    left_out = agreement["dropped"] + agreement["failed"]
    if left_out:
        yield f"  {left_out:,} images were not compared (busy, large or unanswered)"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _share(side: Mapping[str, Any], label: str) -> str:
    total = sum(side["labels"].values())
    return f"{100 * side['labels'].get(label, 0) / total:.1f} %" if total else "-"


def _sparks(counts: list[int]) -> str:
    tallest = max(counts, default=0)
    if not tallest:
        return "-"
    # Rounded up: what is there can be seen.
    return "".join(_BLOCKS[-(-(len(_BLOCKS) - 1) * each // tallest)] for each in counts)
