"""Runs that are divided over several run directories by their hosts."""
