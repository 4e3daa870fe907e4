"""Kills and faults at every call of the system, and long runs under fire. See `__main__`."""
