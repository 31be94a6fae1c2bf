"""The generated shop: seeded behaviour logs with a taste to learn and dirt whose exact counts are told."""
