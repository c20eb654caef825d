"""Tests of provisioner.commands."""
