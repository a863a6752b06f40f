"""Backups of models and runs, made while jobs run; Redis is rebuilt from the runs."""
