"""Bytes become definitions or problems, streamed."""
