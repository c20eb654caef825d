"""Registers many AWS Clean Rooms ML algorithms: none lost, none twice, at the account's hidden rate limit."""

__version__ = "0.1.0"
