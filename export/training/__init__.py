"""From a plan to a finished run: examples, stages, members, diagnosis."""
