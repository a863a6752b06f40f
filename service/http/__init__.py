"""HTTP itself: what every request meets before its view, and problems as answers."""
