"""A deployment of its own, beside those that serve: what rehearsal and drill share."""
