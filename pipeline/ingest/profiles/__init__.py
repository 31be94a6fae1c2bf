"""Source profiles: what a log looks like, checked and drafted; the shipped ones lie beside."""
