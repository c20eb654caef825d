"""Tests of provisioner.cli, without a process."""
