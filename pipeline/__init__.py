"""Retrains a shop's search and recommendation while it sleeps."""
