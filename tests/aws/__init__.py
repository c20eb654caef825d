"""Tests of the one package that knows the SDK."""
