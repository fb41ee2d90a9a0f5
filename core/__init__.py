"""What the tiers share: messages, the ports to store, queue and fleet, their implementations, the image decoder."""
