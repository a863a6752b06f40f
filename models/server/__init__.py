"""The embedded model server: TensorFlow Serving's protocol in one Python process."""
