"""Whether database, storage and published trees agree: one function for each rule, and what heals a breach."""
