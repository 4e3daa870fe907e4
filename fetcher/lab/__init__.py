"""Laboratory: the comparison of concurrency models. It uses the public API."""
