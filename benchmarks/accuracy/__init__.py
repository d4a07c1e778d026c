"""Accuracy of SLSG beside other models of anomalib."""
