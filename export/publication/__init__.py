"""From a finished run to a version that model servers load."""
