"""Tests of provisioner.engine."""
