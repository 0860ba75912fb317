"""Meta-training: learning the weights of an optimizer by running it."""
