"""Layer 3: stores, where bodies go."""
