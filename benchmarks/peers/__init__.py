"""The models `accuracy` holds ours against: one script and one pinned environment each."""
