"""Looking into a Keras network: filters, activations, Grad-CAM, layers. No HTML here."""
