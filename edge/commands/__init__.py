"""One module a command: what it takes, what it prints, and nothing that another command would want."""
