"""`make rehearse` and `make drill`: real deployments, beside those that serve."""
