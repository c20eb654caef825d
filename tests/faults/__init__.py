"""Faults: every way in which a run can be cut, lied to or left alone, with the endpoint's truth as the oracle."""
