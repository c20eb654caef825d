"""Pure decisions, and the types that they use: entry states, verdicts, ownership, the plan, the rule of a sweep."""
