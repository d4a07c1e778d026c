"""What a fit asks of the trainer."""
