"""What users install, and where it runs."""
