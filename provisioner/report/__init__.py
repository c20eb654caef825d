"""What people and programs see of a run: log events, progress, statistics, summary."""
