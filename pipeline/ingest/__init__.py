"""Turns one day of raw logs into canonical events, and accounts for every row it read."""
