"""What takes longer than a test may: ``python -m tests.endurance.kill``, ``python -m tests.endurance.soak``."""
