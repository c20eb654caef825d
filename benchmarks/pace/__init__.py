"""The pacer beside its peers: a simulated grid in virtual time, and a live loop over HTTP."""
