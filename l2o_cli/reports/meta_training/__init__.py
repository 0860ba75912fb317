"""Of meta-training runs."""
