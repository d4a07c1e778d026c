"""Whether to show progress bars of our own."""

from lightning.pytorch import Trainer


def shows_progress(trainer: Trainer) -> bool:
    """Follow what the user asked of the trainer's own bar, and show one bar for all ranks.

    Args:
        trainer: The trainer.

    Returns:
        True on rank zero of a trainer that shows its bar.
    """
    return trainer.is_global_zero and bool(getattr(trainer.progress_bar_callback, "is_enabled", False))
