"""Rows become typed events, and each is told by the first rule that takes it."""
