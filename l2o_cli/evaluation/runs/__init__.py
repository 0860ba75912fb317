"""Making runs: batches of them, what is kept, what is measured."""
