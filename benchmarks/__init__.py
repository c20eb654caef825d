"""Measurements: each prints ours beside its peers, and ends by itself."""
