"""Tests of provisioner.config."""
