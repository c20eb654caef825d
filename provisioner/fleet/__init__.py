"""Many targets: opening them, side by side."""
