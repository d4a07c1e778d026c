"""What happens to images before the network and to its results after it."""
