"""Holds the challenger against thresholds and champion on the test; a table of gates, intervals, one decision."""
