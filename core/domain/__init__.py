"""The terms of the service, without any I/O: messages, notifications, dropped files, addresses, ids, tag names."""
