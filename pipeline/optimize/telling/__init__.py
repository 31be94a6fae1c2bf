"""What people and later stages see of the choice."""
