"""One module a platform: receive, parse, render, send."""
