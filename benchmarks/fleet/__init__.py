"""One process that drives many targets."""
