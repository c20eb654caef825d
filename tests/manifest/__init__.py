"""Tests of provisioner.manifest."""
