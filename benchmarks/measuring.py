"""What the speed benchmarks share: clocks, memory, the machine, and rows of results."""

import csv
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch.utils.flop_counter import FlopCounterMode

from anomalib_slsg.utils.files import write_atomically
from anomalib_slsg.utils.precision import INSTRUCTIONS, cpu_multiplies_bfloat16

HERE = Path(__file__).parent
MATRIX = 4096
LIBRARIES = ("torch", "anomalib", "lightning", "timm", "openvino", "nncf")
RATE = "matrix product"
CPUINFO = Path("/proc/cpuinfo")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

Call = Callable[[], object]


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
    return given or (Path("results") / f"quick_{name}" if quick else HERE / "results" / name)


class Results:
    """A file of rows that is complete after every measurement.

    Args:
        path: CSV file; its rows of other machines stay.
        fresh: Forget this machine's rows.
    """

    def __init__(self, path: Path, fresh: bool = False) -> None:
        self.path = path
        self.machine = machine()
        rows = [_parse(row) for row in _read(path)]
        self.rows = [row for row in rows if not (fresh and row.machine == self.machine)]

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
        return max(1e3 * MATRIX**3 / row.median_ms for row in products if row.median_ms)

    def add(self, *rows: Measurement) -> None:
        """Take rows in, in place of earlier ones of the same measurement, and write the file."""
        new = [replace(row, machine=self.machine) for row in rows]
        keys = {row.key for row in new}
        self.rows = [row for row in self.rows if row.key not in keys] + new
        write_atomically(self.path, self._write)

    def _write(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Measurement)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in self.rows)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _parse(row: Mapping[str, str]) -> Measurement:
    text = {name: row[name] for name in ("what", "model", "backend", "precision", "machine")}
    whole = {name: int(row[name]) if row[name] else None for name in ("parameters", "macs")}
    names = ("median_ms", "p95_ms", "images_per_s", "peak_mib", "ratio_to_floor")
    numbers = {name: float(row[name]) if row[name] else None for name in names}
    return Measurement(**text, batch=int(row["batch"]), **whole, **numbers)


def machine() -> str:
    """Name the processor and the libraries' versions."""
    instructions = [name for name in INSTRUCTIONS if torch.cpu.get_capabilities().get(name)]
    parts = [_processor(), f"{torch.get_num_threads()} threads", *instructions, platform.system()]
    return ", ".join([*parts, *(f"{name} {_version(name)}" for name in LIBRARIES)])


def _processor() -> str:
    """Name the processor, with its family and model: names such as "AMD EPYC" stand for several generations."""
    if CPUINFO.exists():
        lines = [line.partition(":") for line in CPUINFO.read_text(encoding="utf-8").splitlines()]
        facts = {name.strip(): value.strip() for name, _, value in reversed(lines)}  # of the first core
        if {"model name", "cpu family", "model"} <= facts.keys():
            return f"{facts['model name']} (family {facts['cpu family']}, model {facts['model']})"
    return platform.processor() or platform.machine()


def _version(library: str) -> str:
    try:
        return version(library).split("+")[0]
    except PackageNotFoundError:
        return "absent"


def interleave(
    calls: Mapping[object, Call], rounds: int, repeats: int, progress: Progress
) -> dict[object, list[float]]:
    """Time calls in turns, so that a noisy minute hits all of them.

    Args:
        calls: What to time.
        rounds: Turns of each.
        repeats: Timed calls in a turn, after one that warms the caches.
        progress: Where progress shows.

    Returns:
        Durations in seconds.
    """
    durations: dict[object, list[float]] = {key: [] for key in calls}
    task = progress.add_task("timing", total=rounds * len(calls))
    for _ in range(rounds):
        for key, call in calls.items():
            progress.update(
                task, description=" ".join(str(part) for part in key) if isinstance(key, tuple) else str(key)
            )
            call()
            for _ in range(repeats):
                start = time.perf_counter()
                call()
                durations[key].append(time.perf_counter() - start)
            progress.advance(task)
    progress.remove_task(task)
    return durations


def progress_bar() -> Progress:
    """Make the progress bar of all speed benchmarks."""
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def matrix_products() -> dict[object, Call]:
    """Give the products whose rates are the machine's, by precision."""
    precisions = PRECISIONS if cpu_multiplies_bfloat16() else {"fp32": torch.float32}
    return {(RATE, precision): _product(dtype) for precision, dtype in precisions.items()}


def _product(dtype: torch.dtype) -> Call:
    left, right = (torch.randn(MATRIX, MATRIX).to(dtype) for _ in range(2))
    return lambda: left @ right


def note_products(durations: Mapping[object, list[float]], results: Results) -> None:
    """Put those of :func:`matrix_products` among durations into the results."""
    for key, seconds in durations.items():
        if isinstance(key, tuple) and key[0] == RATE:
            row = Measurement(f"{MATRIX}x{MATRIX}", RATE, "torch", key[1], 1, macs=MATRIX**3)
            results.add(timed(row, seconds))


def timed(row: Measurement, seconds: list[float], rate: float | None = None) -> Measurement:
    """Fill in what follows from durations.

    Args:
        row: The measurement.
        seconds: Its durations.
        rate: Multiply-accumulates per second of the floor, if there is one.

    Returns:
        The row with median, percentile, throughput and ratio to the floor.
    """
    median = statistics.median(seconds)
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else median
    ratio = None if rate is None or not row.macs else round(median * rate / row.macs, 2)
    images = None if row.model == RATE else float(f"{row.batch / median:.3g}")
    return replace(
        row,
        median_ms=float(f"{1e3 * median:.4g}"),
        p95_ms=float(f"{1e3 * p95:.4g}"),
        images_per_s=images,
        ratio_to_floor=ratio,
    )


def multiply_accumulates(call: Call) -> int:
    """Count those of convolutions and matrix products in a call, backward passes included."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2


def growth(sizes: Iterable[float], values: Iterable[float]) -> float:
    """Fit the exponent p of ``values ~ sizes ** p`` by least squares of the logarithms."""
    x, y = (torch.tensor(list(numbers), dtype=torch.float64).log() for numbers in (sizes, values))
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
