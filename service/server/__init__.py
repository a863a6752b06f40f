"""gunicorn: its configuration and worker, and load shedding in front of Flask."""
