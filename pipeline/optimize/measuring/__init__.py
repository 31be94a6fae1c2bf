"""What a bundle costs and what it loses: time, memory, and its tower among another night's items."""
