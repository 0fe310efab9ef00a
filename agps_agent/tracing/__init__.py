"""LangSmith traces: what this process sends, a local collector for those without an account, and its page."""
