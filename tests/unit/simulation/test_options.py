"""Bad options are refused by name; lists stand for pairs."""

import pytest

from anomalib_slsg.simulation import SimulationOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("structural_probability", 1.5),
        ("texture_probability", float("nan")),
        ("logical_turn_probability", "0.5"),
        ("colour_jitter", -0.1),
        ("logical_turn_degrees", 181),
        ("structural_threshold", 1.0),
        ("minimum_change", 1.0),
        ("minimum_area", 0),
        ("minimum_area", 65536),
        ("grid_cells", 1),
        ("grid_cells", 8.0),
        ("photometric_operations", 10),
        ("structural_periods", (3, 1)),
        ("logical_periods", (0, 1, 2)),
        ("logical_periods", (0.0, 2.0)),
        ("structural_opacity", (0.0, 1.0)),
        ("logical_opacity", 0.75),
        ("foreground", "texture"),
        ("noise", "rect"),
    ],
)
def test_bad_value_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"simulation\.{name} must"):
        SimulationOptions(**{name: value})  # type: ignore[arg-type]


def test_message_tells_range_and_value() -> None:
    with pytest.raises(ValueError, match=r"simulation\.structural_probability must lie in \[0, 1\], got 1\.5"):
        SimulationOptions(structural_probability=1.5)


def test_lists_become_tuples() -> None:
    options = SimulationOptions(structural_periods=[1, 2], logical_opacity=[0.5, 1])  # type: ignore[arg-type]
    assert options.structural_periods == (1, 2)
    assert options.logical_opacity == (0.5, 1)
