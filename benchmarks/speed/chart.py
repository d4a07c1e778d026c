"""The chart of speeds: how long each model takes for an image."""

from collections.abc import Iterable

from matplotlib.figure import Figure

from benchmarks.common.charts import TEXT, chart_of
from benchmarks.common.paths import RESULTS
from benchmarks.speed.measurements import Measurement, read_measurements
from benchmarks.speed.tables import BACKENDS, BESIDE_THE_DEFAULT, DEFAULTS_MACHINE, PRECISIONS, SIDE, known

Forms = dict[str, list[Measurement]]  # of each model its rows of one machine, image size and batch
BAR = 0.38


def forms_in_documents() -> Forms:
    """Give the rows of the run in which the default was measured beside others."""
    rows = [row for row in read_measurements(RESULTS / "speed.csv") if row.machine.startswith(DEFAULTS_MACHINE)]
    found = forms_of(row for row in rows if row.what == f"inference {SIDE}" and row.batch == 1)
    return {title: found[model] for model, title in BESIDE_THE_DEFAULT.items()}


def forms_of(rows: Iterable[Measurement]) -> Forms:
    """Gather rows by model."""
    forms: Forms = {}
    for row in rows:
        forms.setdefault(row.model, []).append(row)
    return forms


def draw(forms: Forms) -> Figure:
    """Draw two bars for each model: its fastest form, and torch in 32 bits, where it was measured."""
    figure, axes = chart_of(len(forms))
    fastest = [min(rows, key=lambda row: known(row.median_ms)) for rows in forms.values()]
    in_torch = [row for rows in forms.values() for row in rows if (row.backend, row.precision) == ("torch", "fp32")]
    names = {f"{BACKENDS[row.backend]} {PRECISIONS[row.precision]}" for row in fastest}
    places = {row.model: place for place, row in enumerate(fastest)}
    kinds = {names.pop() if len(names) == 1 else "fastest form": fastest, "torch, 32 bits": in_torch}
    for number, (kind, rows) in enumerate(kinds.items()):
        where = [places[row.model] + (number - 0.5) * BAR for row in rows]
        bars = axes.barh(where, [known(row.median_ms) for row in rows], BAR, color=("C3", "C7")[number], label=kind)
        axes.bar_label(bars, [f"{row.median_ms:.3g}" for row in rows], padding=4, fontsize=TEXT)
    axes.set_yticks(range(len(forms)), [title.replace(", ", ",\n") for title in forms])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    machine, threads, _ = fastest[0].machine.partition(" threads")
    axes.set_xlabel(f"milliseconds per image of {SIDE}x{SIDE}\n{machine}{threads}", fontsize=TEXT)
    axes.legend(fontsize=TEXT)
    return figure
