"""The report on a comparison: one page, and its pictures."""
