"""Tests of provisioner.report."""
