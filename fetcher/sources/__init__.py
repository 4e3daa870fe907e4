"""Layer 3: sources, lists of URLs read in batches."""
