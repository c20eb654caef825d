"""Creates per second beside other clients: ``python -m benchmarks.throughput``."""
