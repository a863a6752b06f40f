"""Web pages for people; their JavaScript calls the same /v1 routes as other clients."""
