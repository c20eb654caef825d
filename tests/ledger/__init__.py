"""Tests of the ledger: one contract for every store, and the SQLite store on disks that fail."""
