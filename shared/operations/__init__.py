"""What an operator sees of a running side: its log, its measures, whether it lives."""
