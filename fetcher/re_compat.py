"""Compiling regular expressions that have possessive groups: they bound what hostile text can cost.

Before Python 3.11.5 the standard library matches some of them wrongly (python/cpython#106052), so there the
`regex` package does it, which reads the same patterns.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module

compile = re.compile  # noqa: A001  (it stands for that of `re`)
if sys.version_info < (3, 11, 5):
    compile = import_module("regex").compile  # noqa: A001
