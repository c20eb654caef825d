"""One target: read, plan, send, record, resolve."""
