"""The paper's figures, drawn of numbers and pictures; each file is one of them."""
