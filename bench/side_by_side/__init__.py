"""The parts of bench/performance."""
