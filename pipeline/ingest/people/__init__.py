"""What people are called in the store, and how one is forgotten."""
