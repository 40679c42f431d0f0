"""One platform: its data, its policy, its training and its recommendations."""
