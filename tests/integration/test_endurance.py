"""The short form of what ``tests/endurance`` does at length."""

import pytest

from tests.endurance import kill


@pytest.mark.slow
def test_a_killed_training_ends_as_an_uninterrupted_one(capsys: pytest.CaptureFixture[str]) -> None:
    kill.main(times=1, tasks=("train",))
    assert "all as without interruption: {'train': " in capsys.readouterr().out
