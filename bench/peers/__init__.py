"""Other systems that benchmarks run beside Lodeline; none of these modules is a benchmark."""
