"""Uploaded archives: read as hostile, unpacked flat into a run's own folder."""
