"""Scripts that write data sets for the benchmarks."""
