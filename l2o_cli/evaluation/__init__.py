"""Running optimizers on problems: trials, tuning, scores and what is drawn and written of them."""
