"""Tests of runs over targets."""
