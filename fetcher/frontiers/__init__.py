"""Layer 3: frontiers, what is to be fetched and what became of it."""
