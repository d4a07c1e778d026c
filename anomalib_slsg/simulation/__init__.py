"""Simulation of structural and logical anomalies (paper section 3.2)."""

from anomalib_slsg.simulation.options import SimulationOptions
from anomalib_slsg.simulation.perlin import perlin_noise
from anomalib_slsg.simulation.simulator import AnomalySimulator

__all__ = ["AnomalySimulator", "SimulationOptions", "perlin_noise"]
