"""What the benchmarks share, one subject a file."""
