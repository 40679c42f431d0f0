"""What a platform makes of the shared model for its own users."""
