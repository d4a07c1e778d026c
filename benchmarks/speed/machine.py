"""The machine that measures."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from anomalib_slsg.utils.precision import INSTRUCTIONS

LIBRARIES = ("torch", "anomalib", "lightning", "timm", "openvino", "nncf")
CPUINFO = Path("/proc/cpuinfo")


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
