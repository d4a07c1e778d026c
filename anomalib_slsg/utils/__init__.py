"""Helpers that know neither SLSG nor a trainer."""
