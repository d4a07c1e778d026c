"""What tests of several folders share: tiny models, trainers, trees of images, runs of commands."""
