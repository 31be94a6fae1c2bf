"""Judges whole days of events by a suite of rules and publishes the days that passed."""
