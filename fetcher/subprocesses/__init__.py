"""Child interpreters that work for this one: launch, frames, death of either side. Nothing of fetching.

`kernel` is what both process pools (fetching, parsing) stand on, at both ends; `framed_transport` carries
their messages, and `parent_watch` ends a child with its parent.
"""
