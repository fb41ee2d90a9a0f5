"""What the tiers share: messages, ports and the two implementations of each port."""
