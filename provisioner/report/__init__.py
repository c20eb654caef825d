"""What people and programs are told of a run: summary, progress."""
