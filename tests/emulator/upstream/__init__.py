"""Clean Rooms ML for moto, as a pull request: its tests, and what writes it into a checkout of moto."""
