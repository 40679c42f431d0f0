"""For whom a system is good, and for whom it is not: users in groups, figures for each."""
