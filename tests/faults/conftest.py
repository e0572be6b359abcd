"""Trainings to which faults happen, for the tests of one module."""

import pytest

from tests.faults.trials import Trials


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    """The trainings of a module."""
    return Trials(tmp_path_factory.mktemp("faults"))
