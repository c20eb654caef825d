"""What the rest decides with: entry states, facts, replies and verdicts, ownership, the plan. Pure and synchronous."""
