"""Recipe after recipe, in order and until when, whatever becomes of each."""
