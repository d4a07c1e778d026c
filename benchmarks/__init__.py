"""Measurements of accuracy, speed and deployment: see README.md."""
