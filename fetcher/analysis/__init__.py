"""Layer 4: what run directories say, read and never changed: tables and differences."""
