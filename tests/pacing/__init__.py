"""Tests of provisioner.pacing."""
