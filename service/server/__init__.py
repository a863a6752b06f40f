"""gunicorn: its configuration, its worker, and refusals under an overload."""
