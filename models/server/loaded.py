"""What the embedded server holds of one model: its versions, their states, its labels."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.server.servable import Servable
from models.wire.config import ModelEntry, published_versions


@dataclass
class VersionState:
    """What GetModelStatus says of one version."""

    state: str
    error: str = ""
    attempts: int = 0
    next_attempt: float = 0.0


@dataclass
class LoadedModel:
    """One model; whoever changes it holds the manager's lock."""

    entry: ModelEntry
    servables: dict[int, Servable] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    states: dict[int, VersionState] = field(default_factory=dict)

    def wanted_versions(self, *, whole: bool) -> list[int]:
        """Versions on the disk that the entry's policy loads, newest first.

        *whole*: folders without a graph are not looked at.
        """
        base = self.entry.base_path
        return self.entry.loaded(
            version
            for version in published_versions(base)
            if not whole or (base / str(version) / "saved_model.pb").exists()
        )

    def first_outcome(self) -> tuple[int, VersionState] | None:
        """The newest version that is available or failed; None: all are on their way."""
        for version, state in sorted(self.states.items(), reverse=True):
            if state.state in {"AVAILABLE", "END"}:
                return version, state
        return None

    def effective_labels(self) -> dict[str, int]:
        """The entry's labels; each stays where it was until its new version is loaded."""
        return {
            label: version
            if version in self.servables
            else self.labels.get(label, version)
            for label, version in self.entry.labels
        }
