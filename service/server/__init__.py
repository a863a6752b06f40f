"""gunicorn: its configuration, its worker, and load shedding in front of Flask."""
