"""Scores from curves alone: statistics, profiles, the verdict."""
