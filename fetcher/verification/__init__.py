"""Verification of a run directory: state, records and files against each other, and mending them."""
