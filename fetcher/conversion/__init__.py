"""Saved pages made to be read from the disk: their links lead to saved files."""
