"""What the HTTP API promises, in OpenAPI: written beside the code, never checked by it.

A view says `@documented(OPERATION)`; the operations lie here, one module a part.
"""
