"""The report: its sections, charts and looks into the network."""
