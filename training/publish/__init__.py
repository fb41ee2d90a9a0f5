"""Put a trained and evaluated run into the model registry."""
