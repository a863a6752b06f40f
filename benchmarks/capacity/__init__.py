"""How much a deployment serves, predicted by a queueing model and checked here."""
