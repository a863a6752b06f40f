"""The dashboard "Kennel", written by a script: `python -m deploy.grafana.overview`."""
