"""How unusual the features of an image are. Not in the paper."""
