"""Time and memory of inference, training, simulation and evaluation."""
