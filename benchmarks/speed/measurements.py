"""Rows of results of the speed benchmarks."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from benchmarks.common.files import read_rows, write_rows
from benchmarks.common.paths import RESULTS
from benchmarks.speed.machine import machine

RATE = "matrix product"


@dataclass(frozen=True)
class Measurement:
    """A row of results.

    Args:
        what: What was done, with the image size.
        model: Name of the model.
        backend: Library that computed.
        precision: Type that it computed in.
        batch: Images at a time.
        median_ms: Median duration in milliseconds.
        p95_ms: 95th percentile of the durations in milliseconds.
        images_per_s: Images per second at the median.
        parameters: Numbers that the model learnt.
        macs: Multiply-accumulates of convolutions and matrix products, for the whole batch.
        peak_mib: Peak memory in mebibytes above that of the runtime with its libraries loaded.
        ratio_to_floor: Median over the time that the fastest matrix product here would take for ``macs``.
        machine: Processor and library versions.
    """

    what: str
    model: str
    backend: str
    precision: str
    batch: int
    median_ms: float | None = None
    p95_ms: float | None = None
    images_per_s: float | None = None
    parameters: int | None = None
    macs: int | None = None
    peak_mib: float | None = None
    ratio_to_floor: float | None = None
    machine: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two rows the same measurement."""
        return self.what, self.model, self.backend, self.precision, self.batch, self.machine


def results_path(name: str, given: Path | None, quick: bool) -> Path:
    """Choose the file of rows.

    Args:
        name: Name of the committed file.
        given: What the user says.
        quick: Whether it is a look, whose rows a full run must not take for its own.

    Returns:
        The user's file, or the committed one, or one in the folder ``results``.
    """
    return given or (Path("results") / f"quick_{name}" if quick else RESULTS / name)


class Results:
    """A file of rows that is complete after every measurement.

    Args:
        path: CSV file; its rows of other machines stay.
        fresh: Forget this machine's rows.
    """

    def __init__(self, path: Path, fresh: bool = False) -> None:
        self.path = path
        self.machine = machine()
        self.rows = [row for row in read_measurements(path) if not (fresh and row.machine == self.machine)]

    def find(self, what: str, model: str, backend: str, precision: str, batch: int) -> Measurement | None:
        """Look up this machine's row."""
        key = Measurement(what, model, backend, precision, batch, machine=self.machine).key
        return next((row for row in self.rows if row.key == key), None)

    def of_this_machine(self) -> list[Measurement]:
        """Rows measured here."""
        return [row for row in self.rows if row.machine == self.machine]

    @property
    def rate(self) -> float:
        """Multiply-accumulates per second of the fastest matrix product, the floor of all times.

        Raises:
            LookupError: If none was measured here.
        """
        products = [row for row in self.of_this_machine() if row.model == RATE]
        if not products:
            msg = f"{self.path} has no matrix product of this machine; --fresh measures it"
            raise LookupError(msg)
        return max(1e3 * row.macs / row.median_ms for row in products if row.macs and row.median_ms)

    def add(self, *rows: Measurement) -> None:
        """Take rows in, in place of earlier ones of the same measurement, and write the file."""
        new = [replace(row, machine=self.machine) for row in rows]
        keys = {row.key for row in new}
        self.rows = [row for row in self.rows if row.key not in keys] + new
        write_rows(self.path, [field.name for field in fields(Measurement)], map(asdict, self.rows))


def read_measurements(path: Path) -> list[Measurement]:
    """Read a file of rows, of all machines."""
    return [_parse(row) for row in read_rows(path)]


def _parse(row: Mapping[str, str]) -> Measurement:
    text = {name: row[name] for name in ("what", "model", "backend", "precision", "machine")}
    whole = {name: int(row[name]) if row[name] else None for name in ("parameters", "macs")}
    names = ("median_ms", "p95_ms", "images_per_s", "peak_mib", "ratio_to_floor")
    numbers = {name: float(row[name]) if row[name] else None for name in names}
    return Measurement(**text, batch=int(row["batch"]), **whole, **numbers)
