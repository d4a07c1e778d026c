"""What a trained model loses when it is exported, and the ways to run an exported model."""
