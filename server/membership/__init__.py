"""Who may take part, and how nobody else can."""
