"""The PostgreSQL store. Nothing here is loaded unless a ledger's location is a URL of PostgreSQL."""
