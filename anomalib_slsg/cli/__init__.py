"""The command ``slsg``: a thin layer over anomalib's engine."""
