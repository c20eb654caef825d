"""One contract for every front of the state."""
