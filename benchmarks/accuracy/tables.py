"""The tables of documents that are made from ``accuracy.csv``."""

from collections.abc import Callable, Mapping, Sequence

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

SHORT, PAPERS = "6 epochs + 1000", "40 epochs + 3500"
WITHOUT_COMPOSITION = "without composition"
# what tables call a model, and its name in the file
FROM_IMAGENET = {
    "SLSG": "SLSG Lite0 default",
    WITHOUT_COMPOSITION: "SLSG Lite0 + distance",
    "paper's": "SLSG Lite0",
}
RANDOM_WEIGHTS = {"SLSG": "SLSG default", WITHOUT_COMPOSITION: "SLSG + distance", "paper's": "SLSG"}
INITIAL = {"default": "SLSG Lite0 default", "initial": "SLSG Lite0 initial"}

BOTTLE = Data("MVTec bottle", "MVTecAD", "bottle")
JUICE_BOTTLE = Data("juice_bottle", "MVTecLOCO", "juice_bottle")
DRAWN = tuple(
    Data(f"SyntheticLOCO {category}", "SyntheticLOCO", category) for category in ("tray", "connector_board", "bottle")
)
TRAY, CONNECTOR_BOARD, DRAWN_BOTTLE = DRAWN
TURNED_TRAY, TURNED_BOARD = (
    Data(f"turned {category}", "SyntheticLOCO turned", category) for category in ("tray", "connector_board")
)
MONO = Data("ELPV, monocrystalline", "ELPV", "mono")
POLY = Data("ELPV, polycrystalline", "ELPV", "poly")

# a column for each metric, as most tables call them
IMAGE = Column("image", ("image_AUROC",))
LOGICAL_OR_ALL = Column("image (juice_bottle: logical)", ("image_AUROC",))  # it has no other anomalies here
LOGICAL = Column("logical", ("image_AUROC_logical",))
STRUCTURAL = Column("structural", ("image_AUROC_structural",))
F1 = Column("F1", ("image_F1Score",))
BEST_F1 = Column("best F1", ("image_F1Max",))
PIXEL = Column("pixel", ("pixel_AUROC",))
AUPRO = Column("AUPRO", ("pixel_AUPRO",))
AUSPRO = Column("AU-sPRO", (LOCALISATION,))
AUSPRO_OR_AUPRO = Column("AU-sPRO (MVTec: AUPRO)", (LOCALISATION,))
NUMBER_OF_SEEDS = Column("seeds", (SEEDS,))
OF_OTHER_DATA = (NUMBER_OF_SEEDS, IMAGE, LOGICAL, STRUCTURAL, F1, BEST_F1, PIXEL, AUSPRO)


def by_model(models: Mapping[str, str], training: Training, data: Data | None = None) -> list[Line]:
    """Lay out a table that has a line for each model."""
    return [Line((title,), model, training, data) for title, model in models.items()]


def by_data(
    every: Sequence[Data], models: Mapping[str, str], training: Training, alike: Sequence[Data] = ()
) -> list[Line]:
    """Lay out a table that has lines for each data set, one for each model; the first names the data.

    Args:
        every: The data sets.
        models: Names of the models in the file, by title.
        training: How they were trained.
        alike: The data on which ``auto`` left composition out, so that the line without it would be the default's.
    """
    return [
        Line((data.title if number == 0 else "", title), model, training, data)
        for data in every
        for number, (title, model) in enumerate(models.items())
        if title != WITHOUT_COMPOSITION or data not in alike
    ]


def readme() -> list[str]:
    """Give the README's table."""
    models = {
        "SLSG": "SLSG Lite0 default",
        "the paper's network alone (`--config configs/model/paper.yaml`)": "SLSG Lite0",
        **BASELINES,
    }
    columns = [
        Column("MVTec AD bottle: image / pixel AUROC", ("image_AUROC", "pixel_AUROC"), BOTTLE),
        Column("MVTec LOCO juice_bottle: logical AUROC / AU-sPRO", ("image_AUROC_logical", LOCALISATION), JUICE_BOTTLE),
    ]
    return table([""], by_model(models, Training(PAPERS)), columns, "lll", bold=True)


def papers_schedule() -> list[str]:
    """Compare all models by the paper's schedule."""
    columns = [
        Column("bottle: image AUROC", ("image_AUROC",), BOTTLE),
        Column("pixel AUROC", ("pixel_AUROC",), BOTTLE),
        Column("AUPRO", ("pixel_AUPRO",), BOTTLE),
        Column("juice_bottle: logical AUROC", ("image_AUROC_logical",), JUICE_BOTTLE),
        Column("pixel AUROC", ("pixel_AUROC",), JUICE_BOTTLE),
        Column("AUPRO", ("pixel_AUPRO",), JUICE_BOTTLE),
        Column("AU-sPRO", (LOCALISATION,), JUICE_BOTTLE),
    ]
    return table(["model"], by_model({**FROM_IMAGENET, **BASELINES}, Training(PAPERS)), columns, "l")


def juice_bottle_at_256() -> list[str]:
    """Compare what larger images change by the paper's schedule."""
    models = {**FROM_IMAGENET, "with `initial_features`": "SLSG Lite0 initial"}
    lines = by_model(models, Training(PAPERS, 256, seed=1), JUICE_BOTTLE)
    return table(["juice_bottle, 256 px"], lines, [LOGICAL, F1, BEST_F1, PIXEL, AUPRO, AUSPRO], "l")


def short_at_256() -> list[str]:
    """Compare all models on larger images by the short schedule."""
    lines = by_data((JUICE_BOTTLE, TRAY), {**FROM_IMAGENET, **BASELINES}, Training(SHORT, 256, seed=1))
    return table(["data", "model"], lines, [LOGICAL_OR_ALL, F1, BEST_F1, PIXEL, AUPRO, AUSPRO], "ll")


def random_weights() -> list[str]:
    """Tell what SLSG learns without ImageNet's weights."""
    data = (BOTTLE, JUICE_BOTTLE, *DRAWN, MONO, POLY)
    lines = by_data(data, RANDOM_WEIGHTS, Training(PAPERS), alike=data[1:])
    columns = [NUMBER_OF_SEEDS, IMAGE, LOGICAL, STRUCTURAL, F1, PIXEL, AUSPRO_OR_AUPRO]
    return table(["random weights", "model"], lines, columns, "ll")


def papers_schedule_on_other_data() -> list[str]:
    """Tell what SLSG learns by the paper's schedule on drawn images and solar cells."""
    lines = by_data((*DRAWN, MONO, POLY), FROM_IMAGENET, Training(PAPERS), alike=[POLY])
    return table(["by the paper's schedule", "model"], lines, OF_OTHER_DATA, "ll")


def short_schedule() -> list[str]:
    """Compare all models by the short schedule on other data."""
    others = (TURNED_TRAY, TURNED_BOARD, MONO, POLY)
    lines = by_data((*DRAWN, *others), {**FROM_IMAGENET, **BASELINES}, Training(SHORT), alike=others)
    return table(["data", "model"], lines, OF_OTHER_DATA, "ll")


def fast_variant() -> list[str]:
    """Tell what the fast variant costs."""
    models = {"SLSG": "SLSG", "SLSG fast": "SLSG fast", **BASELINES}
    columns = [
        Column("bottle, image / pixel AUROC", ("image_AUROC", "pixel_AUROC"), BOTTLE),
        Column("juice_bottle, logical AUROC / pixel AUROC", ("image_AUROC_logical", "pixel_AUROC"), JUICE_BOTTLE),
    ]
    return table(["model"], by_model(models, Training(SHORT, seed=1)), columns, "lll")


def initial_features() -> list[str]:
    """Compare features of GPT-Net's encoder with those of ImageNet's, joined to the same trainings."""
    short, papers = ("short", Training(SHORT, seed=1)), ("the paper's", Training(PAPERS, seed=1))
    short_at_256, papers_at_256 = (
        ("short", Training(SHORT, 256, seed=1)),
        ("the paper's", Training(PAPERS, 256, seed=1)),
    )
    cases = [
        (TRAY, short),
        (DRAWN_BOTTLE, short),
        (CONNECTOR_BOARD, short),
        (JUICE_BOTTLE, papers),
        (JUICE_BOTTLE, short_at_256),
        (JUICE_BOTTLE, papers_at_256),
        (BOTTLE, papers),
        (BOTTLE, ("short, seed 2", Training(SHORT, seed=2))),
        (MONO, short),
        (POLY, short),
        (POLY, papers),
        (TURNED_BOARD, short),
        (TRAY, short_at_256),
        (TURNED_TRAY, short),
        (TRAY, papers),
    ]
    lines: list[Line] = []
    above = ""
    for data, (schedule, training) in cases:
        title = f"{data.title}, 256 px" if training.size == 256 else data.title
        first = ("" if title == above else title, schedule)
        for titles, (name, model) in zip((first, ("", "")), INITIAL.items()):
            lines.append(Line((*titles, name), model, training, data))
        above = title
    return table(["data", "training", ""], lines, [LOGICAL_OR_ALL, F1, PIXEL, AUSPRO_OR_AUPRO], "lll")


TABLES: dict[str, Callable[[], list[str]]] = {
    "accuracy, README": readme,
    "accuracy, the paper's schedule": papers_schedule,
    "accuracy, juice_bottle at 256 px": juice_bottle_at_256,
    "accuracy, the short schedule at 256 px": short_at_256,
    "accuracy, random weights": random_weights,
    "accuracy, the paper's schedule on other data": papers_schedule_on_other_data,
    "accuracy, the short schedule": short_schedule,
    "accuracy, the fast variant": fast_variant,
    "accuracy, initial_features": initial_features,
}
