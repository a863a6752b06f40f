"""Web pages for people; their JavaScript talks to the same /v1 as everyone."""
