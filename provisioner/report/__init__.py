"""What people and programs see of a run: its summary, and its progress while it goes on."""
