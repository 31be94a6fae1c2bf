"""Carries out one recipe: from what train and prepare handed on to a bundle that answers."""
