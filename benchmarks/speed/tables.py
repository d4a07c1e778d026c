"""The tables of documents that are made from the files of the speed benchmarks."""

from collections.abc import Callable

from benchmarks.common.files import read_rows
from benchmarks.common.markdown import fixed, markdown_table
from benchmarks.common.paths import RESULTS
from benchmarks.speed.measurements import Measurement, read_measurements

FIRST_MACHINE = "AMD EPYC, "  # what the name of the machine that docs/results.md names begins with
DEFAULTS_MACHINE = "AMD EPYC (family 26, model 2), "  # the one that measured the default, with normality
# what documents call the models that it measured in one run
BESIDE_THE_DEFAULT = {
    "SLSG default": "SLSG",
    "SLSG Lite0": "SLSG, SegNet alone",
    "EfficientAD-S": "EfficientAD-S",
    "PatchCore WR50": "PatchCore",
}
SIDE = 256
MODELS = (
    "STFPM",
    "PaDiM R18",
    "SLSG fast",
    "SLSG",
    "EfficientAD-S",
    "SuperSimpleNet",
    "PatchCore WR50",
    "DRAEM",
)
SIDES = (128, 256, 512, 768, 1024)
STRIDE = 16  # of the graph's nodes
BACKENDS = {"openvino": "OpenVINO", "torch": "torch"}
PRECISIONS = {"int8": "INT8", "bf16": "bf16", "fp32": "FP32"}
DEFAULT_KINDS = "half logical, a quarter textures, a quarter shuffled"  # of simulated anomalies
WAITING = "waiting for images"
IMAGES = (40, 160, 800, 4000)


class Rows:
    """Rows of one machine, of which every value that a table asks for has to be there.

    Args:
        file: Name of the file of results.
        machine: What the machine's name begins with.
    """

    def __init__(self, file: str, machine: str = FIRST_MACHINE) -> None:
        self.rows = [row for row in read_measurements(RESULTS / file) if row.machine.startswith(machine)]

    def all(self, **wanted: object) -> list[Measurement]:
        """Find the rows with these values."""
        return [row for row in self.rows if all(getattr(row, name) == value for name, value in wanted.items())]

    def one(self, **wanted: object) -> Measurement:
        """Find the only row with these values.

        Raises:
            LookupError: If there is none, or more than one.
        """
        found = self.all(**wanted)
        if len(found) != 1:
            msg = f"{len(found)} rows, not one, have {wanted}"
            raise LookupError(msg)
        return found[0]


def known(value: float | None) -> float:
    """Refuse a value that was not measured."""
    if value is None:
        msg = "a row lacks a value that a table shows"
        raise LookupError(msg)
    return value


def milliseconds(row: Measurement, digits: int) -> str:
    """Tell a row's median duration."""
    return fixed(known(row.median_ms), digits)


def memory(row: Measurement) -> str:
    """Tell a row's peak memory in mebibytes."""
    return fixed(known(row.peak_mib), 0)


def giga(row: Measurement, digits: int) -> str:
    """Tell a row's multiply-accumulates."""
    return fixed(known(row.macs) / 1e9, digits)


def fastest_forms() -> list[str]:
    """Compare models in the form in which each is fastest."""
    rows = Rows("speed.csv")
    lines = []
    for model in MODELS:
        alone = {"what": f"inference {SIDE}", "model": model, "batch": 1}
        row = min(rows.all(**alone), key=lambda row: known(row.median_ms))
        usual = milliseconds(rows.one(**alone, backend="torch", precision="fp32"), 0)
        if model == "SLSG":
            in_bf16 = milliseconds(rows.one(**alone, backend="torch", precision="bf16"), 0)
            usual = f"{usual} ({in_bf16} in bf16, its default here)"
        name = f"**{model}**" if model.startswith("SLSG") else model
        form = f"{BACKENDS[row.backend]} {PRECISIONS[row.precision]}"
        rate = fixed(known(row.macs) / known(row.median_ms) / 1e6, 0)
        floor = fixed(known(row.ratio_to_floor), 2)
        lines.append(
            [
                name,
                form,
                milliseconds(row, 1),
                fixed(known(row.p95_ms), 1),
                giga(row, 1),
                rate,
                floor,
                memory(row),
                usual,
            ]
        )
    header = ["model", "fastest form", "median ms", "p95 ms", "G MAC", "G MAC/s", "over floor", "peak MiB"]
    return markdown_table([*header, "torch, fp32, ms"], lines, "ll")


def model_card() -> list[str]:
    """Give the model card's table: the default in the forms that it is used in, beside others, in one run."""
    rows = Rows("speed.csv", DEFAULTS_MACHINE)
    forms = [("openvino", "int8"), ("openvino", "bf16"), ("openvino", "fp32"), ("torch", "bf16"), ("torch", "fp32")]
    lines = []
    for model, title in BESIDE_THE_DEFAULT.items():
        alone = {"what": f"inference {SIDE}", "model": model, "batch": 1}
        found = [rows.one(**alone, backend=backend, precision=precision) for backend, precision in forms]
        lines.append([title, giga(found[0], 1), *(milliseconds(row, 0) for row in found), memory(found[0])])
    header = [f"{BACKENDS[backend]} {PRECISIONS[precision]}" for backend, precision in forms]
    return markdown_table([f"ms, {SIDE} px", "G MAC", *header, "peak MiB, INT8"], lines, "l")


def growth_with_the_image() -> list[str]:
    """Tell how time and memory grow with the image."""
    rows = Rows("speed.csv")
    lines = []
    for side in SIDES:
        of_side = {"what": f"inference {side}", "model": "SLSG", "batch": 1}
        openvino = rows.one(**of_side, backend="openvino", precision="bf16")
        in_torch = [rows.one(**of_side, backend="torch", precision=precision) for precision in ("bf16", "fp32")]
        cells = [str(side), fixed((side // STRIDE) ** 2, 0), giga(openvino, 1)]
        cells += [milliseconds(openvino, 1 if known(openvino.median_ms) < 100 else 0), memory(openvino)]
        lines.append([*cells, *(cell for row in in_torch for cell in (milliseconds(row, 0), memory(row)))])
    forms = ("OpenVINO bf16", "torch bf16", "torch fp32")
    header = ["side", "nodes", "G MAC", *(title for form in forms for title in (f"{form}, ms", "MiB"))]
    return markdown_table(header, lines, "r")


def training_steps() -> list[str]:
    """Compare steps of both trainings with what the machine can do."""
    rows = Rows("training_speed.csv")
    nets = {
        "SegNet resnet18": "SegNet, 4 normal + 4 simulated images, simulation included",
        "GPT-Net resnet18": "GPT-Net, 6 images",
    }
    kinds = {
        "": ("step", "bf16"),
        "the same, freed memory returned to the system (before)": ("step, freed memory returned", "bf16"),
        "the same, 32 bits": ("step", "fp32"),
    }
    lines = []
    for net, described in nets.items():
        for title, (what, precision) in kinds.items():
            row = rows.one(what=f"{what} {SIDE}", model=net, precision=precision)
            share = fixed(100 / known(row.ratio_to_floor), 0)
            seconds = fixed(known(row.median_ms) / 1e3, 3)
            lines.append([title or described, seconds, f"{giga(row, 0)} G", f"{share} %", memory(row)])
    header = ["step", "seconds", "multiply-accumulates needed", "share of the product's rate", "peak memory, MiB"]
    return markdown_table(header, lines, "l")


def growth_with_training_images() -> list[str]:
    """Tell what grows with the number of training images."""
    rows = Rows("training_speed.csv")
    lines = []
    for number in IMAGES:
        name = f"{number} training images {SIDE}"
        start, step, wait = (rows.one(what=f"{what}, {name}") for what in ("start-up", "step from files", WAITING))
        seconds = [fixed(known(start.median_ms) / 1e3, 1), fixed(known(step.median_ms) / 1e3, 2)]
        lines.append([fixed(number, 0), *seconds, milliseconds(wait, 1), memory(step)])
    header = ["training images", "start-up, s", "step, s", "wait for images, ms", "peak memory, MiB"]
    return markdown_table(header, lines, "r")


def simulation() -> list[str]:
    """Compare simulators of anomalies."""
    rows = Rows("simulation_speed.csv")
    described = {
        "PerlinAnomalyGenerator": "anomalib's `PerlinAnomalyGenerator`",
        "AnomalySimulator, textures only": "`AnomalySimulator`, textures in every image",
        "AnomalySimulator": f"`AnomalySimulator` as it is by default ({DEFAULT_KINDS})",
    }
    found = {title: known(rows.one(model=model).median_ms) for model, title in described.items()}
    slowest = next(iter(found.values()))
    lines = [
        [title, fixed(median, 1), "1" if median == slowest else fixed(slowest / median, 1)]
        for title, median in found.items()
    ]
    return markdown_table(["", "ms for 8 images", "times as fast"], lines, "l")


def spro() -> list[str]:
    """Tell time and memory of sPRO over the number of images."""
    rows = read_rows(RESULTS / "spro.csv")
    return markdown_table(list(rows[0]), [list(row.values()) for row in rows], "r")


TABLES: dict[str, Callable[[], list[str]]] = {
    "speed, fastest forms": fastest_forms,
    "speed, model card": model_card,
    "speed, growth with the image": growth_with_the_image,
    "speed, training steps": training_steps,
    "speed, growth with training images": growth_with_training_images,
    "speed, simulation": simulation,
    "speed, sPRO": spro,
}
