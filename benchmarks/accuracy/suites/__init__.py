"""Whole benchmark data sets, and what the paper's tables say of them."""
