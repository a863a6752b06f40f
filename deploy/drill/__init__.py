"""`make drill`: containers are killed and replaced under load, as operations.md says."""
