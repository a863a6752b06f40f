"""The API's description: openapi.yaml is its only source; /openapi.json and /docs show it."""
