"""`kennel doctor`: read-only checks of a machine and a deployment, with remedies."""
