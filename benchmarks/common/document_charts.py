"""Draws the charts of documents anew from ``benchmarks/results``.

``make results``, or ``python -m benchmarks.common.document_charts``.
"""

from benchmarks.accuracy import chart as accuracy
from benchmarks.common.charts import save_chart
from benchmarks.common.paths import RESULTS
from benchmarks.speed import chart as speed


def main() -> None:
    """Draw them into ``benchmarks/figures``."""
    save_chart(accuracy.draw(accuracy.scores_in_documents()), RESULTS / "accuracy.csv")
    save_chart(speed.draw(speed.forms_in_documents()), RESULTS / "speed.csv")


if __name__ == "__main__":
    main()
