"""Layer 3: backends, one HTTP exchange each.

What they share stands beside them: `failure_texts`, every failure with its one text, and `socks`.
"""
