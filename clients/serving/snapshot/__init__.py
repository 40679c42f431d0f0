"""An immutable model on disk, made by `build`, read by everything that answers."""
