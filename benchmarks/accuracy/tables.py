"""The tables of documents that are made from ``accuracy.csv``."""

from collections.abc import Callable, Mapping, Sequence

from benchmarks.accuracy.matrix import TEXTURES
from benchmarks.accuracy.table_layout import (
    BASELINES,
    LOCALISATION,
    SEEDS,
    Column,
    Data,
    Line,
    Training,
    table,
)

SHORT, PAPERS = f"6 epochs + 1000{TEXTURES}", f"40 epochs + 3500{TEXTURES}"
# what tables call a model, and its name in the file
PAPERS_NETWORK = {"SLSG, EfficientNet-Lite0": "SLSG Lite0", "SLSG, ResNet-18, random weights": "SLSG"}

BOTTLE, TRANSISTOR, TOOTHBRUSH = (
    Data(f"MVTec {category}", "MVTecAD", category) for category in ("bottle", "transistor", "toothbrush")
)
JUICE_BOTTLE = Data("juice_bottle", "MVTecLOCO", "juice_bottle")
DRAWN = tuple(
    Data(f"SyntheticLOCO {category}", "SyntheticLOCO", category) for category in ("tray", "connector_board", "bottle")
)
TURNED_TRAY, TURNED_BOARD = (
    Data(f"turned {category}", "SyntheticLOCO turned", category) for category in ("tray", "connector_board")
)
MONO = Data("ELPV, monocrystalline", "ELPV", "mono")
POLY = Data("ELPV, polycrystalline", "ELPV", "poly")

PRODUCTS = (BOTTLE, TRANSISTOR, TOOTHBRUSH, JUICE_BOTTLE, *DRAWN, TURNED_TRAY, TURNED_BOARD, MONO, POLY)
WITHOUT_PATCHCORE = (TRANSISTOR, MONO, POLY)  # there it takes hours of a core
UNTRAINED = {"SLSG, normality alone": "SLSG normality alone", **BASELINES}
NOTHING = Training("nothing trained", 256, seed=1)
TEN_MINUTES = Training(f"0 epochs + 400{TEXTURES}", 256, seed=1)

# a column for each metric, as most tables call them
IMAGE = Column("image", ("image_AUROC",))
LOGICAL = Column("logical", ("image_AUROC_logical",))
STRUCTURAL = Column("structural", ("image_AUROC_structural",))
F1 = Column("F1", ("image_F1Score",))
BEST_F1 = Column("best F1", ("image_F1Max",))
PIXEL = Column("pixel", ("pixel_AUROC",))
AUSPRO_OR_AUPRO = Column("AU-sPRO (MVTec AD: AUPRO)", (LOCALISATION,))
NUMBER_OF_SEEDS = Column("seeds", (SEEDS,))
FALSE_ALARMS = Column("false alarms", ("false alarms",))
MISSES = Column("misses", ("misses",))
OF_SEEDS = (NUMBER_OF_SEEDS, IMAGE, LOGICAL, STRUCTURAL, F1, BEST_F1, PIXEL, AUSPRO_OR_AUPRO)


def by_model(models: Mapping[str, str], training: Training, data: Data | None = None) -> list[Line]:
    """Lay out a table that has a line for each model."""
    return [Line((title,), model, training, data) for title, model in models.items()]


def by_data(every: Sequence[Data], models: Mapping[str, str], training: Training) -> list[Line]:
    """Lay out a table that has lines for each data set, one for each model; the first names the data."""
    return [
        Line((data.title if number == 0 else "", title), model, training, data)
        for data in every
        for number, (title, model) in enumerate(models.items())
    ]


def readme() -> list[str]:
    """Give the README's table: image AUROC on each product."""
    columns = [Column(data.title, ("image_AUROC",), data) for data in PRODUCTS if data not in WITHOUT_PATCHCORE]
    return table(["256 px"], by_model(UNTRAINED, NOTHING), columns, "l", bold=True)


def products() -> list[str]:
    """Tell what normality alone says of every product, and SegNet with it, beside the baselines."""
    lines = []
    for line in by_data(PRODUCTS, UNTRAINED, NOTHING):
        if not (line.data in WITHOUT_PATCHCORE and line.model == BASELINES["PatchCore"]):
            lines.append(line)
        if line.model == UNTRAINED["SLSG, normality alone"]:
            lines.append(Line(("", f"SLSG, ten minutes{TEXTURES}"), "SLSG ten minutes", TEN_MINUTES, line.data))
    columns = [IMAGE, LOGICAL, STRUCTURAL, F1, BEST_F1, FALSE_ALARMS, MISSES, PIXEL, AUSPRO_OR_AUPRO]
    return table(["256 px", "model"], lines, columns, "ll")


def model_card() -> list[str]:
    """Give the model card's table: what normality alone says of every product; nothing is trained."""
    lines = [Line((data.title,), UNTRAINED["SLSG, normality alone"], NOTHING, data) for data in PRODUCTS]
    return table(["256 px"], lines, [IMAGE, LOGICAL, STRUCTURAL, FALSE_ALARMS, MISSES, PIXEL, AUSPRO_OR_AUPRO], "l")


def papers_network() -> list[str]:
    """Tell what the paper's network learns by the paper's schedule."""
    data = (BOTTLE, JUICE_BOTTLE, *DRAWN, MONO, POLY)
    return table(
        [f"128 px{TEXTURES}", "model"], by_data(data, {**PAPERS_NETWORK, **BASELINES}, Training(PAPERS)), OF_SEEDS, "ll"
    )


def fast_variant() -> list[str]:
    """Tell what the fast variant costs."""
    models = {f"SLSG{TEXTURES}": "SLSG", f"SLSG fast{TEXTURES}": "SLSG fast", **BASELINES}
    columns = [
        Column("bottle, image / pixel AUROC", ("image_AUROC", "pixel_AUROC"), BOTTLE),
        Column("juice_bottle, logical AUROC / pixel AUROC", ("image_AUROC_logical", "pixel_AUROC"), JUICE_BOTTLE),
    ]
    return table(["128 px"], by_model(models, Training(SHORT, seed=1)), columns, "lll")


TABLES: dict[str, Callable[[], list[str]]] = {
    "accuracy, README": readme,
    "accuracy, all products": products,
    "accuracy, model card": model_card,
    "accuracy, the paper's network": papers_network,
    "accuracy, the fast variant": fast_variant,
}
