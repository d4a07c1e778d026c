"""SyntheticLOCO: drawn industrial scenes with logical and structural anomalies."""
