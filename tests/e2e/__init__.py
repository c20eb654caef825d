"""Through the real process: stdout, stderr and exit code are the API."""
