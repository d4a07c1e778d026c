"""What a run has found: tables and reports."""
