"""The controller's state: vocabulary (`model`), observation (`observer`, `tracker`) and storage (`ledger`)."""
