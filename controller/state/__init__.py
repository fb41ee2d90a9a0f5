"""What the controller knows: its vocabulary (`model`), what it sees (`tracker`) and what it stores (`ledger`)."""
