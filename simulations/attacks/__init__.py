"""What an attacker could learn from what is released: one attack a file."""
