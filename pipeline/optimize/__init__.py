"""Recipes, measured and chosen: compresses the towers and seals the release bundle."""
