"""Code that the tiers share: messages, the ports to store, queue and fleet with implementations, the image decoder."""
