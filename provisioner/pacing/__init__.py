"""The rate limiter: a pacer that decides, and a gate that waits for its turns."""
