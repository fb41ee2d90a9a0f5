"""Writing logs without ever failing, reading the journal of systemd, and shipping it to where logs are kept."""
