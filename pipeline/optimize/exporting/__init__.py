"""A registered bundle in another form, proven to answer like it."""
