"""What the package knows of each codec: one table, and one parser per folder."""
