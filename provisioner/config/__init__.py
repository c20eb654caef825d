"""TOML, environment and flags become frozen settings; the only place with defaults."""
