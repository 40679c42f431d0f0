"""The rounds of a run: who answers, what is believed, how it is averaged and kept."""
