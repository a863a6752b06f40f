"""The Prometheus metrics, a module for each thing that is measured."""
