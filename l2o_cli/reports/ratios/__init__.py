"""Of losses over those of the first baseline."""
