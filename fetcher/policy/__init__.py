"""Layer 1: decisions as pure functions. No I/O and no clock: time and randomness are passed in."""
