"""Where a bar is not reached: what is gained by rounds, and by the number of users."""
