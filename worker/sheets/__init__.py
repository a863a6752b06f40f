"""CSV files that come with a job: which images it has, and what its CSV looks like."""
