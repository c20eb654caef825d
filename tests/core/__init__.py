"""Tests of provisioner.core."""
