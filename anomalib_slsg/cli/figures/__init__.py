"""``slsg figures``: what the paper's figures are made of; :mod:`anomalib_slsg.report.figures` draws them."""
