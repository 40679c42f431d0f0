"""What users were promised, and what of it is spent."""
