"""The Flask application: the HTTP API in front of the model server and the queue."""
