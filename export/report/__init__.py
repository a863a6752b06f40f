"""The HTML report on labelled, predicted photos."""
