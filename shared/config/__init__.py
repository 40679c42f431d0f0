"""Settings: frozen, validated at birth, one type for each thing that may be decided."""
