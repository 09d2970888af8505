"""What the benchmarks are made of: scenarios, the race, the report."""
