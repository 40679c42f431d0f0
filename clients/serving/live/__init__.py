"""What changes between two snapshots: posted events, new items, consent."""
