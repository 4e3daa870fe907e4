"""Layer 3: backends, one HTTP exchange each."""
