"""The table of mutants agrees with the program and with the tests, whatever was renamed since."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

RUN = Path(__file__).parents[1] / "mutants" / "run.py"


def test_every_mutant_fits_the_program_and_names_tests_that_exist() -> None:
    spec = importlib.util.spec_from_file_location("mutants_run", RUN)
    assert spec is not None
    assert spec.loader is not None
    run = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = run  # dataclasses look their module up
    spec.loader.exec_module(run)
    places = run.addresses()
    misfits = []
    for mutant in run.read_table():
        try:
            run.look_up(mutant, places)
            mutant.check(RUN.parents[2])
        except run.Misfit as misfit:
            misfits.append(str(misfit))
    assert misfits == []
