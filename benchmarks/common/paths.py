"""Folders of the checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "results"
FIGURES = BENCHMARKS / "figures"
CONFIGS = ROOT / "configs"
