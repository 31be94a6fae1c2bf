"""Cuts the window of published days by time into training sequences, validation and test queries."""
