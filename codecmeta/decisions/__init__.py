"""From the record to decisions: densities, budgets, events. Arrays in, arrays out."""
