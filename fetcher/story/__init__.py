"""The story of one URL of a run directory, out of its state and records; nothing is changed by telling it."""
