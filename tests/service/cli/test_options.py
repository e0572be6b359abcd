"""What several commands share."""

import getpass

import pytest

from service.cli.options import login_name


def test_the_login_name_is_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    assert login_name() == getpass.getuser()


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("no user")])
def test_a_user_id_without_a_name_is_unnamed(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def nameless() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nameless)

    assert login_name() == "unnamed"
